/** `name`, or `name_1`, `name_2`, ... : the first that is not taken. */
export function uniqueName(name: string, taken: (name: string) => boolean): string {
  let candidate = name;
  for (let i = 1; taken(candidate); i++) candidate = `${name}_${i}`;
  return candidate;
}
