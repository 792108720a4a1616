/**
 * HTML in which only what stands in the source is markup: every value put into it is escaped.
 * No library: in Handlebars templates the compiler checks neither the names nor the types of the values.
 */

/** Markup that may stand in a page as it is; only {@link html} makes it. */
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

/** A text for an element's content or for an attribute value in quotes. */
export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (sign) => ENTITIES[sign] ?? '');

const markup = (value: string | number | SafeHtml): string =>
  value instanceof Markup ? value.toString() : escapeHtml(String(value));

/** Tag of a template: texts and numbers are escaped, what `html` made is put in as it is, lists without a separator. */
export function html(
  strings: TemplateStringsArray,
  ...values: readonly (string | number | SafeHtml | readonly SafeHtml[])[]
): SafeHtml {
  const parts = values.map((value) =>
    typeof value === 'object' && !(value instanceof Markup) ? value.map(markup).join('') : markup(value),
  );
  return new Markup(strings.map((string, i) => string + (parts[i] ?? '')).join(''));
}
