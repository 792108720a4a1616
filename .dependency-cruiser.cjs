/**
 * The direction of dependencies, as ARCHITECTURE.md has it. `domain` imports nothing; `store`, `clients` and `messages`
 * import `domain`; `services` hold the use cases; `activities`, `api` and `cli` call them. Entries (worker, cli, start,
 * api/server) compose the processes. .dependency-cruiser.runtime.cjs checks what workflows load at run time.
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
    forbid(
      'not-resolvable',
      'an import of a file that does not exist',
      from('^(src|simulators|migrations|bench|test)/'),
      {
        couldNotResolve: true,
      },
    ),
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
      'workflow code is replayed: it imports domain, itself and, for types only, activities',
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
    forbid('store-below', 'store imports domain', from('^src/store/'), {
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
    forbid('clients-below', 'clients import domain', from('^src/clients/'), {
      path: '^src/',
      pathNot: ['^src/(clients|domain)/', '^src/(config|version)\\.ts$'],
    }),
    forbid('messages-below', 'templates import domain', from('^src/messages/'), {
      path: '^src/',
      pathNot: '^src/(messages|domain)/',
    }),
    forbid('messages-are-pure', 'the same data gives the same text: no I/O, no library', from('^src/messages/'), {
      dependencyTypes: ['core', 'npm', 'npm-dev', 'npm-optional', 'npm-peer'],
      dependencyTypesNot: ['type-only'],
    }),
    forbid(
      'activities-below',
      'activities import services, store, clients, messages, domain and the contract of the workflows',
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
      'temporal imports store, domain, the contract, and workflows by type',
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
    forbid('services-below', 'services import store, clients, temporal and domain', from('^src/services/'), {
      path: '^src/(api|cli|activities|embedded|messages)/',
    }),
    forbid('api-below', 'api imports services, store, clients, messages, temporal and domain', from('^src/api/'), {
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
      'only the demo imports simulators',
      from('^src/', { pathNot: '^src/cli/demo/' }),
      {
        path: '^simulators/',
      },
    ),
    forbid('product-without-tests', 'only tests and benchmarks import tests', from('^(src|simulators|migrations)/'), {
      path: '^(test|bench)/',
    }),
    forbid(
      'no-dev-dependency',
      'a library of the product is a dependency, not a development dependency',
      from('^(src|migrations)/', { pathNot: '\\.test\\.ts$' }),
      {
        dependencyTypes: ['npm-dev'],
        dependencyTypesNot: ['type-only'],
        pathNot: 'node_modules/@types/',
      },
    ),
    forbid(
      'no-orphans',
      'a file that no other file imports',
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
