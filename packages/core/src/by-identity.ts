/**
 * A pure function of an immutable object, worked out once for each object: what is long in deriving stays known as long as
 * somebody holds what it is derived from.
 */
export function byIdentity<K extends object, V>(derive: (of: K) => V): (of: K) => V {
  const known = new WeakMap<K, { readonly value: V }>();
  return (of) => {
    const found = known.get(of);
    if (found) return found.value;
    const value = derive(of);
    known.set(of, { value });
    return value;
  };
}
