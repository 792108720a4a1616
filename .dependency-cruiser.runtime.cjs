/**
 * Rules over what is loaded at run time, through any number of imports. `reachable` cannot tell types from values, so
 * this configuration reads the files after compilation: a type-only import is gone there.
 * @type {import('dependency-cruiser').IConfiguration}
 */
const { options } = require('./.dependency-cruiser.cjs');

module.exports = {
  forbidden: [
    {
      name: 'workflows-without-zod',
      comment: 'the workflow sandbox holds the SDK and pure functions; schemas are checked where data enters',
      severity: 'error',
      from: { path: '^src/workflows/' },
      to: { path: 'node_modules/zod/', reachable: true },
    },
  ],
  options: { ...options, tsPreCompilationDeps: false },
};
