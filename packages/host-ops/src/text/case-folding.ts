/** Unicode's NFKC_Casefold: what ICU's nfkc_cf normaliser does to a text. */
import { normalForm } from "./normal-form.js";

/** Ten thousand characters. */
const FOLDS = /\p{Changes_When_NFKC_Casefolded}/gu;
const IGNORABLE = /\p{Default_Ignorable_Code_Point}/gu;
const FIRST_BEYOND_ASCII = /[^\0-\x7f]/;
const DOTLESS_I = "\u0131";
/** The one script whose small letters fold to the capitals, which came first. */
const SMALL_CHEROKEE = /^[\u13f8-\u13fd\uab70-\uabbf]$/;
const CAPITAL_CHEROKEE = /^[\u13a0-\u13f5]$/;

/** Of the characters that fold, as they are met. */
const folds = new Map<string, string>();

/**
 * Equal for texts that differ in case, in compatibility forms or in invisible characters alone.
 *
 * @throws ServingError INVALID_ARGUMENT for more combining marks in a row than any text has
 */
export function foldCase(text: string): string {
  if (!FIRST_BEYOND_ASCII.test(text)) return text.toLowerCase();
  // Neighbours may compose, and marks take their order.
  return normalForm(text.replace(FOLDS, foldOf), "NFC");
}

function foldOf(char: string): string {
  let fold = folds.get(char);
  if (fold === undefined) {
    fold = closure(char);
    folds.set(char, fold);
  }
  return fold;
}

/** Compatibility forms, case and invisible characters, until none changes. */
function closure(char: string): string {
  let text = char;
  for (let before = ""; text !== before; ) {
    before = text;
    const visible = text.normalize("NFKC").replace(IGNORABLE, "");
    text = Array.from(visible, changeCase).join("").normalize("NFKC");
  }
  return text;
}

/**
 * Case folding of one character by JavaScript's mappings: the small form of the capital, so that all small forms of a capital
 * become one (ς and σ), and that ß, which has no capital of one letter, becomes ss.
 */
function changeCase(char: string): string {
  if (char === DOTLESS_I || CAPITAL_CHEROKEE.test(char)) return char;
  if (SMALL_CHEROKEE.test(char)) return char.toUpperCase();
  // Per letter: a sigma at the end of a word is no final one here.
  return Array.from(char.toUpperCase(), (capital) => capital.toLowerCase()).join("");
}
