const NOTHING: ReadonlySet<string> = new Set();

/** What is behind some nodes: a set for each of them, which holds the node itself where it counts. */
interface Ancestry {
  /** True for what is behind one of the nodes other than itself. */
  isBehindOther(name: string): boolean;
  /** The union of the nodes' sets and one more element; shared where nothing is added, because most nodes add nothing. */
  union(extra: string | undefined): ReadonlySet<string>;
}

/** Takes the time to go through all but the largest of the different sets, once. */
export function ancestryOf(names: Iterable<string>, sets: ReadonlyMap<string, ReadonlySet<string>>): Ancestry {
  // The only node of each set, or undefined where several share it: then one of them is another than whichever is asked for.
  const holders = new Map<ReadonlySet<string>, string | undefined>();
  let largest = NOTHING;
  for (const name of new Set(names)) {
    const set = sets.get(name) ?? NOTHING;
    holders.set(set, holders.has(set) ? undefined : name);
    if (set.size > largest.size) largest = set;
  }
  const behindRest = new Set<string>();
  const missing: string[] = [];
  for (const [set, holder] of holders) {
    if (set === largest) continue;
    for (const item of set) {
      if (item !== holder) behindRest.add(item);
      if (!largest.has(item)) missing.push(item);
    }
  }
  return {
    isBehindOther: (name) => behindRest.has(name) || (largest.has(name) && holders.get(largest) !== name),
    union: (extra) => {
      const added = extra === undefined ? missing : [...missing, extra];
      return added.length === 0 ? largest : new Set([...largest, ...added]);
    },
  };
}
