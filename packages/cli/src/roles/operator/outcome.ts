import type { Terminal } from "../../command.js";
import { flag } from "../../flags.js";
import { REGISTRY_FLAGS } from "../flags/registry-flags.js";

/** Flags of every command by which an operator changes the cluster. */
export const OPERATOR_FLAGS = {
  ...REGISTRY_FLAGS,
  json: flag.bool("print what is so now as one JSON object, and nothing on the way there"),
};

/**
 * What a command that changes something tells: lines for people, or one JSON object for programs. The object is there only
 * when the command has done its work; a failure is an exit code and a line on standard error in either form.
 */
export class Outcome {
  readonly #isJson: boolean;
  readonly #print: Terminal["print"];

  constructor(isJson: boolean, print: Terminal["print"]) {
    this.#isJson = isJson;
    this.#print = print;
  }

  /** On the way, for people. */
  note(line: string): void {
    if (!this.#isJson) this.#print(line);
  }

  /** At the end, once. @param facts  what `line` says, by documented names (docs/operations.md, "For programs") */
  done(line: string, facts: Readonly<Record<string, unknown>>): void {
    this.#print(this.#isJson ? JSON.stringify(facts, undefined, 2) : line);
  }
}
