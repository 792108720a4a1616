/** Lines of CSV (RFC 4180) that a spreadsheet program opens without running any of their texts. */

/**
 * Where a cell could begin as a formula: at its start, and after what some program takes for the end of a cell (a comma, a
 * semicolon, a tab, a line break). Blanks and quotes before it do not count, since programs strip them. Also the wide forms
 * of the signs (OWASP, CSV injection).
 */
const FORMULA = /(^|[,;|\t\r\n])([\s"'`\p{Cf}]*)(?=[=+\-@＝＋－＠])/gu;
/** A tab or a line break at the start counts as one too. */
const CONTROL = /^(?=[\t\r\n])/;

/** A line; every cell is quoted, and an apostrophe stands before what could be a formula. */
export const csvLine = (cells: readonly string[]): string =>
  `${cells.map((cell) => `"${withoutFormula(cell).replaceAll('"', '""')}"`).join(',')}\r\n`;

const withoutFormula = (cell: string): string => cell.replace(FORMULA, "$1$2'").replace(CONTROL, "'");
