import { TestNetwork } from "@shardserve/testkit";

/** Of the minutes of chaos, those that go to the faults of networks proper: none where there can be no test networks. */
export const NETWORK_SHARE = TestNetwork.obstacle() === undefined ? 1 / 3 : 0;
