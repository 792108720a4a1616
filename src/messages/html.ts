/**
 * HTML from template literals: the source text of a literal is markup, every value put into it is escaped. The emails and
 * the pages of the email simulator are written with it.
 * No library (ADR 8): in Handlebars templates the compiler checks neither the names nor the types of the values.
 */

/** Markup that is put into a page unchanged; only {@link html} makes it. */
class Markup {
  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }
  toString(): string {
    return this.#text;
  }
}
export type SafeHtml = Markup;

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Escapes a text for the content of an element or for a quoted attribute value. */
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');

const markup = (value: string | number | SafeHtml): string =>
  value instanceof Markup ? value.toString() : escapeHtml(String(value));

/** Tag of a template literal: texts and numbers are escaped, results of `html` are not, lists are joined without a separator. */
export function html(
  strings: TemplateStringsArray,
  ...values: readonly (string | number | SafeHtml | readonly SafeHtml[])[]
): SafeHtml {
  const parts = values.map((value) =>
    typeof value === 'object' && !(value instanceof Markup) ? value.map(markup).join('') : markup(value),
  );
  return new Markup(strings.map((string, i) => string + (parts[i] ?? '')).join(''));
}
