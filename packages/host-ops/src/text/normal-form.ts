import { invalid } from "../call/errors.js";

export type NormalForm = "NFC" | "NFD" | "NFKC" | "NFKD";

/** Texts of any language have a handful; their order costs the square of their number. */
const MARKS_MAX = 1000;
/** Marks, and the two letters (of halfwidth kana) that become ones. */
const MARK = "[\\p{M}\\uff9e\\uff9f]";
/** Starts where no mark is before, so that a text is read once. */
const TOO_MANY_MARKS = new RegExp(`(?<!${MARK})${MARK}{${MARKS_MAX + 1}}`, "u");

/**
 * A text in a normal form of Unicode.
 *
 * @throws ServingError INVALID_ARGUMENT for more combining marks in a row than any text has
 */
export function normalForm(text: string, form: NormalForm): string {
  if (text.length > MARKS_MAX && TOO_MANY_MARKS.test(text)) {
    throw invalid(`a text to normalise has more than ${MARKS_MAX} combining marks in a row`);
  }
  return text.normalize(form);
}
