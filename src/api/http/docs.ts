/** The OpenAPI document and its two readers, served from installed packages: nothing is loaded from another host. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Context, Next } from 'koa';
import type { OpenApiDocument } from './openapi.ts';

const resolvePackage = (name: string): string =>
  dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));

interface Asset {
  package: string;
  file: string;
  type: string;
  /** A text of the file that is replaced, because it is a URL of another host. */
  replace?: readonly [from: string, to: string];
}
/** The only files of the packages that are served. */
const ASSETS: Readonly<Record<string, Asset>> = {
  '/docs/assets/redoc.standalone.js': {
    package: 'redoc',
    file: 'bundles/redoc.standalone.js',
    type: 'text/javascript',
    // Redoc loads its logo from the host of its vendor. It leaves out an image that cannot be drawn.
    replace: ['https://cdn.redoc.ly/redoc/logo-mini.svg', 'data:,'],
  },
  '/swagger/assets/swagger-ui.css': { package: 'swagger-ui-dist', file: 'swagger-ui.css', type: 'text/css' },
  '/swagger/assets/swagger-ui-bundle.js': {
    package: 'swagger-ui-dist',
    file: 'swagger-ui-bundle.js',
    type: 'text/javascript',
  },
  '/swagger/assets/favicon-32x32.png': { package: 'swagger-ui-dist', file: 'favicon-32x32.png', type: 'image/png' },
};

const REDOC_INIT = `Redoc.init('/docs/swagger.json', { disableSearch: false, hideDownloadButton: false, sideNavStyle: 'path-only' }, document.getElementById('redoc'));`;
const SWAGGER_INIT = `SwaggerUIBundle({ url: '/docs/swagger.json', dom_id: '#swagger', deepLinking: true, presets: [SwaggerUIBundle.presets.apis], layout: 'BaseLayout', validatorUrl: null });`;

const page = (title: string, head: string, body: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
${head}
</head>
<body style="margin:0">
${body}
</body>
</html>
`;
const PAGES: Readonly<Record<string, string>> = {
  '/docs': page(
    'NodeByte API Documentation (ReDoc)',
    '<link rel="icon" href="data:,">',
    '<div id="redoc"></div>\n<script src="/docs/assets/redoc.standalone.js"></script>\n<script src="/docs/assets/init.js"></script>',
  ),
  '/swagger': page(
    'NodeByte API Documentation (Swagger UI)',
    '<link rel="icon" href="/swagger/assets/favicon-32x32.png">\n<link rel="stylesheet" href="/swagger/assets/swagger-ui.css">',
    '<div id="swagger"></div>\n<script src="/swagger/assets/swagger-ui-bundle.js"></script>\n<script src="/swagger/assets/init.js"></script>',
  ),
};
const SCRIPTS: Readonly<Record<string, string>> = {
  '/docs/assets/init.js': REDOC_INIT,
  '/swagger/assets/init.js': SWAGGER_INIT,
};

/** Scripts of this host only. Both readers write style elements and draw data: images; ReDoc searches in a blob: worker. */
const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async function readAsset(asset: Asset): Promise<Buffer> {
  const bytes = await readFile(join(resolvePackage(asset.package), asset.file));
  return asset.replace === undefined ? bytes : Buffer.from(bytes.toString('utf8').replaceAll(...asset.replace));
}

/**
 * Serves `/docs`, `/swagger`, `/docs/swagger.json` and the files they need; other paths pass on. Files of the packages may
 * be cached for an hour; the rest is requested again each time, so that nothing from before an upgrade is shown.
 */
export function docs(document: () => OpenApiDocument) {
  let json: string | undefined;
  const files = new Map<string, Promise<Buffer>>();
  return async (ctx: Context, next: Next): Promise<void> => {
    if (ctx.method !== 'GET' && ctx.method !== 'HEAD') return next();
    const path = ctx.path.toLowerCase().replace(/(?<=.)\/$/, '');
    if (path === '/docs/swagger.json') {
      json ??= JSON.stringify(document());
      ctx.set('Cache-Control', 'no-cache');
      ctx.type = 'application/json';
      ctx.body = json;
      return;
    }
    const html = PAGES[path];
    if (html !== undefined) {
      ctx.set('Content-Security-Policy', PAGE_POLICY);
      ctx.set('Cache-Control', 'no-cache');
      ctx.type = 'text/html';
      ctx.body = html;
      return;
    }
    const script = SCRIPTS[path];
    if (script !== undefined) {
      ctx.set('Cache-Control', 'no-cache');
      ctx.type = 'text/javascript';
      ctx.body = script;
      return;
    }
    const asset = ASSETS[path];
    if (asset === undefined) return next();
    let file = files.get(path);
    if (file === undefined) {
      file = readAsset(asset);
      files.set(path, file);
      file.catch(() => files.delete(path));
    }
    ctx.body = await file;
    ctx.type = asset.type;
    ctx.set('Cache-Control', 'public, max-age=3600');
  };
}
