import type { Assignment } from "./assignment.js";

/** One replica of a path: it goes `to` a shard, where it is not new `from` another. */
export interface Step {
  readonly partition: number;
  /** -1 = the replica is new. */
  readonly from: number;
  readonly to: number;
}

/**
 * Filling an assignment is a maximum flow: partition -> domain of that partition -> shard. This finds a residual path with
 * the fewest replicas moved (Edmonds, Karp 1972), breadth first from shard to shard: a full shard is made room on by a
 * partition that goes to another shard of the same domain, or to a domain that is free for it.
 *
 * Each shard is met once. Those that nobody met yet stand in lists by domain, so that looking for them costs what they are,
 * not partitions x shards.
 *
 * @param isDead  shards known to lead nowhere; those met are added when there is no path, which stays true: later paths
 *   cannot pass through them
 * @returns the path, its last step first; undefined when no arrangement within the bounds has room
 */
export function augmentingPath(
  assignment: Assignment,
  partition: number,
  { mayMoveKept, isDead }: { readonly mayMoveKept: boolean; readonly isDead: Uint8Array },
): Step[] | undefined {
  const { shardCount } = assignment;
  const unmet = new Map<number, number[]>();
  for (let s = 0; s < shardCount; s++) {
    if (isDead[s] === 1 || assignment.isClosed(s)) continue; // a path through a shard gives it something
    const domain = assignment.domainOf(s);
    const others = unmet.get(domain);
    if (others) others.push(s);
    else unmet.set(domain, [s]);
  }
  const queue: Step[] = [];
  /** By shard: index of its step in the queue. */
  const metAt = new Int32Array(shardCount);
  const meet = (p: number, domain: number, from: number) => {
    const left: number[] = [];
    for (const to of unmet.get(domain) ?? []) {
      if (assignment.holds(p, to)) left.push(to);
      else metAt[to] = queue.push({ partition: p, from, to }) - 1;
    }
    if (left.length > 0) unmet.set(domain, left);
    else unmet.delete(domain);
  };
  const isOut = new Set<number>();
  /** A partition looks at all domains that are free for it, once. */
  const meetFree = (p: number, from: number) => {
    if (isOut.has(p)) return;
    isOut.add(p);
    for (const domain of unmet.keys()) if (assignment.isFree(p, domain)) meet(p, domain, from);
  };

  meetFree(partition, -1);
  const { partitions, first } = assignment.byShard();
  for (let head = 0; head < queue.length; head++) {
    const { to: shard } = queue[head]!;
    if (assignment.hasRoom(shard)) return pathTo(queue, metAt, head);
    for (let i = first[shard]!; i < first[shard + 1]! && unmet.size > 0; i++) {
      const p = partitions[i]!;
      if (!assignment.mayLeave(p, shard, mayMoveKept)) continue;
      meet(p, assignment.domainOf(shard), shard);
      meetFree(p, shard);
    }
  }
  for (const { to } of queue) isDead[to] = 1;
  return undefined;
}

function pathTo(queue: readonly Step[], metAt: Int32Array, last: number): Step[] {
  const path: Step[] = [];
  for (let step = queue[last]!; ; step = queue[metAt[step.from] as number]!) {
    path.push(step);
    if (step.from < 0) return path;
  }
}
