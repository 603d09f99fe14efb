/** Knows its place on the one {@link Roster} that it may be on. */
export interface RosterMember {
  /** The roster's; -1 where it is on none. */
  rosterAt: number;
}

/**
 * What is under way now, for something that comes and goes a thousand times a second. In no order; adding and removing makes nothing.
 *
 * A Set renews its storage every so many additions; the old one keeps its entries and a link to the new one, and once one of them has
 * reached the collector's old generation, all that follow survive there with what was under way in their time.
 */
export class Roster<T extends RosterMember> {
  readonly #members: T[] = [];

  get size(): number {
    return this.#members.length;
  }

  /** @param member  one that is on no roster */
  add(member: T): void {
    member.rosterAt = this.#members.length;
    this.#members.push(member);
  }

  /** @returns false where it is not on the roster any more */
  remove(member: T): boolean {
    const at = member.rosterAt;
    if (at < 0) return false;
    member.rosterAt = -1;
    const last = this.#members.pop() as T;
    if (last === member) return true;
    this.#members[at] = last;
    last.rosterAt = at;
    return true;
  }

  /** All that are on it now: may be removed while they are walked. */
  all(): T[] {
    return [...this.#members];
  }
}
