/** The random crashes of test/e2e/email/crash.test.ts, a hundred times. */
import '../../e2e/email/crash.test.ts';
