/**
 * The direction of dependencies. domain knows nothing; store, clients and mail know domain; activities glue them;
 * workflows orchestrate; temporal starts workflows; api answers. Entries (worker, cli, start, api/server) compose all
 * of it. What workflows load at run time is held by .dependency-cruiser.runtime.cjs.
 * @type {import('dependency-cruiser').IConfiguration}
 */
const from = (path, extra = {}) => ({ path, ...extra });
const forbid = (name, comment, source, target) => ({ name, comment, severity: 'error', from: source, to: target });

module.exports = {
  forbidden: [
    forbid(
      'no-cycles',
      'a cycle, even of types, has no order in which it can be understood',
      from('^(src|simulators|bench)/'),
      {
        circular: true,
      },
    ),
    forbid('not-resolvable', 'an import that leads nowhere', from('^(src|simulators|migrations|bench|test)/'), {
      couldNotResolve: true,
    }),
    forbid('domain-is-pure', 'domain imports zod and itself: no I/O, no other folder', from('^src/domain/'), {
      path: '^src/',
      pathNot: '^src/domain/',
    }),
    forbid('domain-without-node', 'domain runs anywhere, in the workflow sandbox too', from('^src/domain/'), {
      dependencyTypes: ['core'],
    }),
    forbid('domain-only-zod', 'zod is the only library of domain', from('^src/domain/'), {
      dependencyTypes: ['npm', 'npm-dev', 'npm-optional', 'npm-peer'],
      pathNot: 'node_modules/zod/',
    }),
    forbid(
      'workflows-are-replayed',
      'workflow code is replayed: it takes domain, itself and, for types only, activities',
      from('^src/workflows/'),
      { path: '^src/', pathNot: '^src/(workflows|domain|activities)/' },
    ),
    forbid(
      'workflows-activities-by-type',
      'an activity is called through the proxy, never imported',
      from('^src/workflows/'),
      {
        path: '^src/activities/',
        dependencyTypesNot: ['type-only'],
      },
    ),
    forbid('workflows-without-node', 'no Node built-in in the sandbox', from('^src/workflows/'), {
      dependencyTypes: ['core'],
    }),
    forbid('workflows-libraries', 'the sandbox holds the SDK and nothing else', from('^src/workflows/'), {
      dependencyTypes: ['npm', 'npm-dev', 'npm-optional', 'npm-peer'],
      pathNot: 'node_modules/@temporalio/(workflow|common)/',
    }),
    forbid('store-below', 'store takes domain', from('^src/store/'), {
      path: '^src/',
      pathNot: ['^src/(store|domain)/', '^src/config\\.ts$'],
    }),
    forbid(
      'configuration-by-entries',
      'entries read the configuration and set up logs; everything else receives the values as arguments',
      from('^src/', { pathNot: '^src/((process|worker|start|cli)\\.ts$|cli/|api/server\\.ts$)' }),
      {
        path: '^src/(config|observability)\\.ts$',
        dependencyTypesNot: ['type-only'],
      },
    ),
    forbid(
      'workers-by-entry',
      'only the process entry composes the Temporal workers',
      from('^src/', { pathNot: '^src/worker(\\.ts$|/)' }),
      { path: '^src/worker/' },
    ),
    forbid('clients-below', 'clients take domain', from('^src/clients/'), {
      path: '^src/',
      pathNot: ['^src/(clients|domain)/', '^src/config\\.ts$'],
    }),
    forbid('mail-below', 'templates take domain', from('^src/messages/'), {
      path: '^src/',
      pathNot: '^src/(messages|domain)/',
    }),
    forbid('mail-is-pure', 'the same data gives the same mail: no I/O, no library', from('^src/messages/'), {
      dependencyTypes: ['core', 'npm', 'npm-dev', 'npm-optional', 'npm-peer'],
    }),
    forbid(
      'activities-below',
      'activities take store, clients, mail, domain and the contract of the workflows',
      from('^src/activities/'),
      {
        path: '^src/',
        pathNot: [
          '^src/(activities|services|store|clients|messages|domain|temporal)/',
          '^src/workflows/(contract|panel-sync/pacer)\\.ts$',
          '^src/(config|observability)\\.ts$',
        ],
      },
    ),
    forbid(
      'temporal-below',
      'temporal takes store, domain, the contract, and workflows by type',
      from('^src/temporal/'),
      {
        path: '^src/(api|services|activities|clients|messages|embedded|cli)/',
      },
    ),
    forbid('temporal-workflows-by-type', 'workflows are started by type and name', from('^src/temporal/'), {
      path: '^src/workflows/',
      pathNot: '^src/workflows/contract\\.ts$',
      dependencyTypesNot: ['type-only'],
    }),
    forbid('services-below', 'services take store, clients, temporal and domain', from('^src/services/'), {
      path: '^src/(api|cli|activities|embedded|messages)/',
    }),
    forbid('api-below', 'api takes store, clients, mail, temporal and domain', from('^src/api/'), {
      path: '^src/(activities|embedded|cli)/',
    }),
    forbid('api-without-worker', 'an api process runs no worker', from('^src/api/'), {
      path: 'node_modules/@temporalio/(worker|activity|workflow)/',
    }),
    forbid(
      'sql-in-store',
      'raw statements are written in store and migrations only; elsewhere a Db is opaque',
      from('^(src|simulators)/', { pathNot: '^src/store/' }),
      { path: '^src/store/db/query\\.ts$' },
    ),
    forbid(
      'driver-in-store',
      'the driver and the query builder are used in store and migrations only, their types too',
      from('^src/', { pathNot: ['^src/store/db/', '^src/embedded/postgres/'] }),
      { path: 'node_modules/(pg|knex|@types/pg)/' },
    ),
    forbid(
      'simulators-for-the-demo',
      'the product knows simulators through the demo only',
      from('^src/', { pathNot: '^src/cli/demo/' }),
      {
        path: '^simulators/',
      },
    ),
    forbid(
      'product-without-tests',
      'nothing imports tests but tests and benchmarks',
      from('^(src|simulators|migrations)/'),
      { path: '^(test|bench)/' },
    ),
    forbid(
      'no-dev-dependency',
      'what the product imports is installed with it',
      from('^(src|migrations)/', { pathNot: '\\.test\\.ts$' }),
      {
        dependencyTypes: ['npm-dev'],
        dependencyTypesNot: ['type-only'],
        pathNot: 'node_modules/@types/',
      },
    ),
    forbid(
      'no-orphans',
      'a file that nothing uses',
      { orphan: true, path: '^src/', pathNot: ['^src/(worker|cli|start)\\.ts$', '^src/api/server\\.ts$'] },
      {},
    ),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    detectProcessBuiltinModuleCalls: true,
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.mjs', '.cjs', '.json'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
      mainFields: ['module', 'main', 'types', 'typings'],
    },
  },
};
