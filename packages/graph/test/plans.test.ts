import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { AttrValueSchema, create, DataType } from "@shardserve/api";
import { importModel, type ModelGraph } from "../src/import/model.js";
import { planInitInTurns, planSignature, type CutPolicy } from "../src/plan/plan-signature.js";
import { formatPlan } from "../src/plan/report.js";
import { findTables } from "../src/plan/tables.js";
import { fakeDevice, fakeKernels } from "./fakes.js";
import { metaGraphOf, type ModelText } from "./text-graph.js";

const GOLDEN = fileURLToPath(new URL("../../test/testdata/", import.meta.url));

/** Compares with test/testdata/NAME.txt; GOLDEN_REWRITE=1 writes it anew, for the diff to be reviewed. */
function assertGolden(name: string, actual: string): void {
  const path = `${GOLDEN}${name}.txt`;
  if (process.env["GOLDEN_REWRITE"]) {
    mkdirSync(GOLDEN, { recursive: true });
    writeFileSync(path, actual);
  }
  assert.equal(actual, readFileSync(path, "utf8"));
}

const HOST =
  "Cast Squeeze StringToHashBucketFast LookupTableFindV2 HashTableV2 LookupTableImportV2 Assert Identity Shape Where Size";

function modelOf(text: ModelText, keys: Record<string, number[]>, initOp?: string): ModelGraph {
  const bindings = new Map(
    Object.keys(keys).map((key) => [key, { checkpointKey: `${key}/.ATTRIBUTES/VARIABLE_VALUE` }]),
  );
  const entries = new Map(
    Object.entries(keys).map(([key, shape]) => [
      `${key}/.ATTRIBUTES/VARIABLE_VALUE`,
      { dtype: "float32" as const, shape },
    ]),
  );
  return importModel(metaGraphOf(text), { bindings, entries, initOp });
}

function planText(
  model: ModelGraph,
  name: string,
  cut: CutPolicy = "cheap",
  refused = "StringToHashBucketFast",
): string {
  return formatPlan(
    planSignature(model, name, { kernels: fakeKernels(HOST), device: fakeDevice(refused), cut: () => cut }),
  );
}

/** Two embeddings, one of them looked up twice by the same ids, over a dense layer; Keras's style. */
const TWO_TOWERS: ModelText = {
  nodes: `
    user = Placeholder() dtype=string shape=[-1]
    item = Placeholder() dtype=float32 shape=[-1,1]
    users = VarHandleOp() dtype=float32 shape=[10,4] shared_name=user_embedding/embeddings
    items = VarHandleOp() dtype=float32 shape=[20,4] shared_name=item_embedding/embeddings
    kernel = VarHandleOp() dtype=float32 shape=[4,2] shared_name=dense/kernel
    call = StatefulPartitionedCall(user, item, users, items, kernel) f=serve Tin=string,float32,resource,resource,resource Tout=float32`,
  functions: [
    {
      name: "serve",
      inputs: "user:string item:float32 users:resource items:resource kernel:resource",
      outputs: "score:float32",
      nodes: `
        id = StringToHashBucketFast(user) num_buckets=10
        u = ResourceGather(users, id:output:0) dtype=float32 Tindices=int64
        ids = Cast(item) SrcT=float32 DstT=int32
        flat = Squeeze(ids:y:0) T=int32 squeeze_dims=[1]
        i = ResourceGather(items, flat:output:0) dtype=float32 Tindices=int32
        again = ResourceGather(items, flat:output:0) dtype=float32 Tindices=int32
        both = Mul(i:output:0, again:output:0) T=float32
        sum = AddV2(u:output:0, both:z:0) T=float32
        w = ReadVariableOp(kernel) dtype=float32
        dense = MatMul(sum:z:0, w:value:0) T=float32
        done = NoOp(^u, ^i, ^w)
        score = Identity(dense:product:0, ^done) T=float32`,
      ret: "score=score:output:0",
      controlRet: "done=done",
    },
  ],
  signatures: { serving_default: "user=user:0:string[-1] item=item:0:float32[-1,1] -> score=call:0:float32[-1,2]" },
};
const TOWER_SHAPES = { users: [10, 4], items: [20, 4], kernel: [4, 2] };

describe("planSignature", () => {
  it("two towers: one lookup step, one device step", () => {
    assertGolden("two-towers", planText(modelOf(TWO_TOWERS, TOWER_SHAPES), "serving_default"));
  });

  it("two towers without cuts: gathers stay on the device", () => {
    assertGolden("two-towers-uncut", planText(modelOf(TWO_TOWERS, TOWER_SHAPES), "serving_default", "never"));
  });

  it("a second lookup whose ids come from the device", () => {
    const nodes = `
      id = Placeholder() dtype=int64 shape=[-1]
      v = VarHandleOp() dtype=float32 shape=[10,4] shared_name=first
      w = VarHandleOp() dtype=float32 shape=[4,3] shared_name=second
      a = ResourceGather(v, id) dtype=float32 Tindices=int64
      axis = Const() value=int32[]:1 dtype=int32
      best = ArgMax(a, axis) T=float32 Tidx=int32
      b = ResourceGather(w, best) dtype=float32 Tindices=int64`;
    const model = modelOf(
      { nodes, signatures: { s: "id=id:int64[-1] -> y=b:float32[-1,3]" } },
      { v: [10, 4], w: [4, 3] },
    );
    assertGolden("chained-lookups", planText(model, "s", "always"));
    // Cutting the second one would cost a round: where the rows are here, it stays on the device.
    assertGolden("chained-lookups-local", planText(model, "s", "cheap"));
  });

  it("parts of a partitioned variable look rows up in one table", () => {
    const nodes = `
      id = Placeholder() dtype=int32 shape=[-1]
      axis = Const() value=int32[]:0 dtype=int32
      part_0 = VariableV2() dtype=float32 shape=[6,2]
      part_1 = VariableV2() dtype=float32 shape=[4,2]
      read_0 = Identity(part_0) T=float32
      read_1 = Identity(part_1) T=float32
      a = GatherV2(read_0, id, axis) Tparams=float32 Tindices=int32 Taxis=int32
      b = GatherV2(read_1, id, axis) Tparams=float32 Tindices=int32 Taxis=int32
      y = AddV2(a, b) T=float32`;
    const meta = metaGraphOf({ nodes, signatures: { s: "id=id:int32[-1] -> y=y:float32[-1,2]" } });
    const part = (start: number, rows: number) => ({
      checkpointKey: "emb",
      slice: { fullShape: [10, 2], start: [start, 0], shape: [rows, 2] },
    });
    const model = importModel(meta, {
      bindings: new Map([
        ["part_0", part(0, 6)],
        ["part_1", part(6, 4)],
      ]),
      entries: new Map([["emb", { dtype: "float32", shape: [10, 2] }]]),
    });
    assertGolden("partitioned", planText(model, "s"));
    const {
      tables: [table],
    } = findTables(model, fakeKernels(HOST));
    assert.deepEqual([table!.name, table!.rows, table!.lookups.length, table!.shardable], ["emb", 10, 2, true]);
  });

  it("lookups hidden behind mixed precision, fast sparse lookup and GatherNd", () => {
    const nodes = `
      ids = Placeholder() dtype=int64 shape=[-1]
      seg = Placeholder() dtype=int32 shape=[-1]
      pairs = Placeholder() dtype=int32 shape=[-1,3,1]
      v = VarHandleOp() dtype=float32 shape=[10,4]
      r = ReadVariableOp(v) dtype=float32
      half = Cast(r) SrcT=float32 DstT=float16
      axis = Const() value=int32[]:0 dtype=int32
      a = GatherV2(half, ids, axis) Tparams=float16 Tindices=int64 Taxis=int32
      b = SparseSegmentMean(r, ids, seg) T=float32 Tidx=int64
      c = ResourceGatherNd(v, pairs) dtype=float32 Tindices=int32`;
    const signature =
      "ids=ids:int64[-1] seg=seg:int32[-1] pairs=pairs:int32[-1,3,1] -> a=a:float16[-1,4] b=b:float32[-1,4] c=c:float32[-1,3,4]";
    assertGolden("hidden-lookups", planText(modelOf({ nodes, signatures: { s: signature } }, { v: [10, 4] }), "s"));
  });

  it("a check that the host can make comes before what it guards; a costly one is left out", () => {
    const nodes = `
      id = Placeholder() dtype=int64 shape=[-1]
      v = VarHandleOp() dtype=float32 shape=[10,4]
      n = Size(id) T=int64
      ok = Cast(n) SrcT=int32 DstT=bool
      check = Assert(ok, n) T=int32
      safe = Identity(id, ^check) T=int64
      a = ResourceGather(v, safe) dtype=float32 Tindices=int64
      fine = IsFinite(a) T=float32
      zero = Const() value=int32[2]:0,1 dtype=int32
      all = All(fine, zero) Tidx=int32
      check_rows = Assert(all, all) T=bool
      y = Identity(a, ^check_rows) T=float32`;
    const model = modelOf({ nodes, signatures: { s: "id=id:int64[-1] -> y=y:float32[-1,4]" } }, { v: [10, 4] });
    assertGolden("asserts", planText(model, "s"));
  });

  it("a costly check of what the device computes anyway comes last, and is told of without the device's values", () => {
    const nodes = `
      x = Placeholder() dtype=float32 shape=[-1,4]
      w = VarHandleOp() dtype=float32 shape=[4,1]
      r = ReadVariableOp(w) dtype=float32
      y = MatMul(x, r) T=float32
      n = Size(y) T=float32
      ok = Cast(n) SrcT=int32 DstT=bool
      text = Const() value=int32[]:7 dtype=int32
      check = Assert(ok, text, y) T=int32,float32
      z = Neg(y, ^check) T=float32`;
    const model = modelOf({ nodes, signatures: { s: "x=x:float32[-1,4] -> z=z:float32[-1,1]" } }, { w: [4, 1] });
    assertGolden("asserts-deferred", planText(model, "s"));
  });

  it("interior feeds, fed outputs and constant outputs", () => {
    const nodes = `
      s = Placeholder() dtype=string shape=[-1]
      parse = Split(s, s) num_split=2 T=string
      x = Neg(parse:1) T=float32
      c = Const() value=float32[2]:1,2 dtype=float32
      y = Exp(x) T=float32`;
    const signature = "x=x:0:float32[-1] unused=c:0:float32[2] -> y=y:0:float32[-1] x=x:0:float32[-1] k=k:0:float32[]";
    const model = modelOf(
      { nodes: `${nodes}\nk = Const() value=float32[]:3 dtype=float32`, signatures: { s: signature } },
      {},
    );
    assertGolden("feeds", planText(model, "s"));
  });

  it("names every node that nothing can run", () => {
    const nodes = `
      x = Placeholder() dtype=float32 shape=[-1]
      other = Placeholder() dtype=float32 shape=[-1]
      z = ZeroOut(x)
      e = Exp(x) T=float32
      y = AddV2(e, other) T=float32`;
    const model = modelOf({ nodes, signatures: { s: "x=x:float32[-1] -> y=y:float32[-1] z=z:float32[-1]" } }, {});
    assertGolden("unsupported", planText(model, "s", "cheap", "Exp"));
  });

  it("plans the regions of a branch that depends on the request", () => {
    const nodes = `
      x = Placeholder() dtype=float32 shape=[-1]
      c = Placeholder() dtype=bool shape=[]
      y = StatelessIf(c, x) then_branch=f else_branch=f Tcond=bool Tin=float32 Tout=float32`;
    const f = { name: "f", inputs: "x:float32", outputs: "y:float32", nodes: "n = Neg(x) T=float32", ret: "y=n:y:0" };
    const signatures = { s: "x=x:float32[-1] c=c:bool[] -> y=y:float32[-1]" };
    const text = planText(modelOf({ nodes, functions: [f], signatures }, {}), "s", "cheap", "StatelessIf");
    assert.match(text, /^host s\/host0 \(c, x\) -> \(y\)\n  y = Branch\(c, x\) float32\[\?\]$/m);
    assert.match(
      text,
      /^signature s\/y\/1 predict\ninput 0 = y\/then\/arg_0 float32\[\?\]\noutput 0 = y\/then\/n float32/m,
    );
  });

  it("leaves a branch of bookkeeping to the host, and one of arithmetic to the device", () => {
    const plan = (dtype: string): string => {
      const nodes = `
        x = Placeholder() dtype=${dtype} shape=[-1,-1]
        c = Placeholder() dtype=bool shape=[]
        y = StatelessIf(c, x) then_branch=f else_branch=f Tcond=bool Tin=${dtype} Tout=${dtype}`;
      const f = {
        name: "f",
        inputs: `x:${dtype}`,
        outputs: `y:${dtype}`,
        nodes: `n = Neg(x) T=${dtype}`,
        ret: "y=n:y:0",
      };
      const signatures = { s: `x=x:${dtype}[-1,-1] c=c:bool[] -> y=y:${dtype}[-1,-1]` };
      const options = { kernels: fakeKernels(`${HOST} Neg`), device: fakeDevice("StatelessIf") };
      return formatPlan(planSignature(modelOf({ nodes, functions: [f], signatures }, {}), "s", options));
    };
    assert.match(plan("int64"), /^host s\/y\/1\/host0 /m);
    assert.match(plan("float32"), /^device s\/y\/1\/device0 /m);
  });

  it("counts on the host what the host has made of strings, and on the device what was fed", () => {
    const plan = (source: string, ids: string, length = -1): string => {
      const nodes = `
        x = Placeholder() dtype=${source} shape=[-1,${length}]
        size = Const() dtype=int64 value=int64[]:9
        least = Const() dtype=int64 value=int64[]:0
        weights = Const() dtype=float32 value=float32[0]:
        ${ids}
        known = Maximum(ids, least) T=int64
        y = DenseBincount(known, size, weights) Tidx=int64 T=float32 binary_output=true`;
      const signatures = { s: `x=x:${source}[-1,${length}] -> y=y:float32[-1,-1]` };
      const kernels = fakeKernels(`${HOST} Maximum DenseBincount`);
      const options = { kernels, device: fakeDevice("StringToHashBucketFast") };
      return formatPlan(planSignature(modelOf({ nodes, signatures }, {}), "s", options));
    };
    const hash = "ids = StringToHashBucketFast(x) num_buckets=9";
    for (const length of [-1, 64]) {
      assert.match(plan("string", hash, length), /^host s\/host0 .*\(y\)$/m);
      assert.doesNotMatch(plan("string", hash, length), /^device/m);
    }
    assert.match(plan("string", hash, 65), /^device s\/device0 .*\(.*y\)$/m, "long rows");
    assert.doesNotMatch(plan("int64", "ids = Identity(x) T=int64"), /^host/m);
  });

  it("reports constants and results that it cannot hold, and still plans without them", () => {
    const nodes = `
      x = Placeholder() dtype=float32 shape=[-1]
      odd = Const() dtype=float32
      t = HashTableV2() key_dtype=string value_dtype=int64
      y = Neg(x) T=float32
      z = AddV2(x, odd) T=float32`;
    const signatures = {
      fine: "x=x:float32[-1] -> y=y:float32[-1]",
      odd: "x=x:float32[-1] -> z=z:float32[-1]",
      table: " -> t=t:int64[]",
    };
    const meta = metaGraphOf({ nodes, signatures });
    // DT_FLOAT8_E5M2, which nothing here computes with.
    const value = create(AttrValueSchema, { value: { case: "tensor", value: Uint8Array.of(8, 24) } });
    meta.graphDef!.node.find(({ name }) => name === "odd")!.attr["value"] = value;
    const model = importModel(meta, { bindings: new Map(), entries: new Map() });
    assert.match(planText(model, "fine"), /y = Neg\(x\)/);
    assert.match(planText(model, "odd"), /unsupported Const odd: its dtype is not supported/);
    assert.match(planText(model, "table"), /unsupported HashTableV2 t: a response cannot hold a resource/);
  });

  it("names the nodes whose dtype is none of ours, and plans the other signatures", () => {
    const nodes = `
      x = Placeholder() dtype=float32 shape=[-1]
      narrow = Cast(x) SrcT=float32 DstT=float32
      back = Cast(narrow) SrcT=float32 DstT=float32
      y = Neg(x) T=float32`;
    const signatures = { fine: "x=x:float32[-1] -> y=y:float32[-1]", odd: "x=x:float32[-1] -> z=back:float32[-1]" };
    const meta = metaGraphOf({ nodes, signatures });
    const setDType = (name: string, attr: string, value: DataType): void => {
      const node = meta.graphDef!.node.find((each) => each.name === name)!;
      node.attr[attr] = create(AttrValueSchema, { value: { case: "type", value } });
    };
    setDType("narrow", "DstT", DataType.DT_FLOAT8_E4M3FN);
    setDType("back", "SrcT", DataType.DT_FLOAT8_E4M3FN);
    const model = importModel(meta, { bindings: new Map(), entries: new Map() });
    assert.match(planText(model, "fine"), /y = Neg\(x\)/);
    const why = (attr: string) => `attribute "${attr}": DataType 25 (float8_e4m3fn) is not supported`;
    assert.deepEqual(
      planSignature(model, "odd", { kernels: fakeKernels(), device: fakeDevice() }).unsupported.map(
        ({ op, node, why: said }) => `${op} ${node}: ${said}`,
      ),
      [`Cast narrow: ${why("DstT")}`, `Cast back: ${why("SrcT")}`],
    );
  });

  it("plans anew for other input shapes", () => {
    const nodes = "x = Placeholder() dtype=float32 shape=[-1,2]\ny = Neg(x) T=float32";
    const model = modelOf({ nodes, signatures: { s: "x=x:float32[-1,2] -> y=y:float32[-1,2]" } }, {});
    const options = { kernels: fakeKernels(), device: fakeDevice() };
    assert.deepEqual(planSignature(model, "s", options).inputs[0]!.assumedShape, [-1, 2]);
    const other = planSignature(model, "s", { ...options, inputShapes: new Map([["x", [-1, -1, -1]]]) });
    assert.deepEqual(other.inputs[0]!.assumedShape, [-1, -1, -1]);
    assert.deepEqual(other.infos.get("y")!.shape, [-1, -1, -1]);
  });

  it("takes the graph's word for what an input is when the signature lies", () => {
    const nodes = "x = Placeholder() dtype=string shape=[-1]\ny = Identity(x) T=string";
    const model = modelOf({ nodes, signatures: { s: "x=x:float32[-1] -> y=y:string[-1]" } }, {});
    const [input] = planSignature(model, "s", { kernels: fakeKernels(), device: fakeDevice() }).inputs;
    assert.deepEqual([input!.dtype, input!.graphDType], ["float32", "string"]);
  });

  it("knows an unknown signature from a broken one", () => {
    const model = modelOf(
      { nodes: "x = Placeholder() dtype=float32", signatures: { s: "x=x:float32[-1] -> y=gone:float32[-1]" } },
      {},
    );
    const options = { kernels: fakeKernels(), device: fakeDevice() };
    assert.throws(() => planSignature(model, "s", options), /"gone", which it does not have/);
    assert.throws(() => planSignature(model, "t", options), /no signature "t"/);
  });
});

describe("a sharded table that is read whole", () => {
  const nodes = `
    id = Placeholder() dtype=int64 shape=[-1]
    v = VarHandleOp() dtype=float32 shape=[10,4] shared_name=candidates
    a = ResourceGather(v, id) dtype=float32 Tindices=int64
    r = ReadVariableOp(v) dtype=float32
    y = MatMul(a, r) T=float32 transpose_b=true`;
  const model = modelOf({ nodes, signatures: { s: "id=id:int64[-1] -> y=y:float32[-1,10]" } }, { v: [10, 4] });

  it("is not shardable, and says which node reads it", () => {
    const {
      tables: [table],
    } = findTables(model, fakeKernels(HOST));
    assert.equal(table!.shardable, 'MatMul "y" reads it whole (signature "s")');
    assert.equal(table!.bytes, 160);
  });

  it("is told of also where no lookup reads it", () => {
    const { whole } = findTables(modelOf(TWO_TOWERS, { kernel: [4, 2] }), fakeKernels(HOST));
    assert.match(whole.get("kernel/.ATTRIBUTES/VARIABLE_VALUE")!, /^MatMul ".*" reads it whole \(signature "/);
  });

  it("cannot be planned as sharded", () => {
    const plan = planSignature(model, "s", { kernels: fakeKernels(HOST), device: fakeDevice(), cut: () => "always" });
    assert.match(plan.unsupported[0]!.why, /its table is sharded, but MatMul "y" reads it whole/);
    assert.deepEqual(plan.steps, []);
  });
});

describe("a table that a signature writes", () => {
  it("is listed, and says why it cannot be sharded", () => {
    const nodes = `
      id = Placeholder() dtype=int64 shape=[-1]
      rows = Placeholder() dtype=float32 shape=[-1,4]
      v = VarHandleOp() dtype=float32 shape=[10,4] shared_name=emb
      a = ResourceGather(v, id) dtype=float32 Tindices=int64
      learn = ResourceScatterAdd(v, id, rows) dtype=float32 Tindices=int64
      done = Identity(id, ^learn) T=int64`;
    const signatures = {
      predict: "id=id:int64[-1] -> y=a:float32[-1,4]",
      train: "id=id:int64[-1] rows=rows:float32[-1,4] -> done=done:int64[-1]",
    };
    const { tables } = findTables(modelOf({ nodes, signatures }, { v: [10, 4] }), fakeKernels(HOST));
    assert.deepEqual(
      tables.map(({ name, shardable }) => [name, shardable]),
      [["emb", "serving writes it"]],
    );
  });
});

describe("planInitInTurns", () => {
  const nodes = `
    keys = Placeholder() dtype=string shape=[]
    asset = Const() value=string[]:vocab.txt dtype=string
    path = VarHandleOp() dtype=string shape=[] shared_name=path
    assign = AssignVariableOp(path, asset) dtype=string
    table = HashTableV2() key_dtype=string value_dtype=int64 shared_name=t
    file = ReadVariableOp(path, ^assign) dtype=string
    fill = LookupTableImportV2(table, file, one, ^assign) Tin=string Tout=int64
    one = Const() value=int64[]:1 dtype=int64
    slot = VarHandleOp() dtype=float32 shape=[2] shared_name=adam
    shape = Const() value=int32[1]:2 dtype=int32
    random = RandomUniform(shape) T=int32 dtype=float32
    forget = AssignVariableOp(slot, random) dtype=float32
    init = NoOp(^fill, ^forget)
    x = Placeholder() dtype=string shape=[-1]
    y = LookupTableFindV2(table, x, one) Tin=string Tout=int64`;
  const model = modelOf({ nodes, signatures: { s: "x=x:string[-1] -> y=y:int64[-1]" } }, {}, "init");

  it("runs the effects that serving can notice, in order, with the paths of assets", async () => {
    const kernels = fakeKernels(`${HOST} AssignVariableOp ReadVariableOp VarHandleOp`);
    const assets = new Map([["asset:0", "/models/m/1/assets/vocab.txt"]]);
    const plan = await planInitInTurns(model, { kernels, assets });
    assertGolden("init", formatPlan(plan!));
    const path = plan!.graph.get("asset/asset")!.attrs.tensor("value");
    assert.equal((path.data as { textAt(i: number): string }).textAt(0), "/models/m/1/assets/vocab.txt");
  });

  it("lets others run in between", async () => {
    const chain = Array.from({ length: 5000 }, (_, i) => `n${i + 1} = Neg(n${i}) T=float32`);
    const initialised = `w = VarHandleOp() dtype=float32 shape=[] shared_name=w
      n0 = Const() value=float32[]:1 dtype=float32
      fill = AssignVariableOp(w, n5000) dtype=float32
      y = ReadVariableOp(w) dtype=float32`;
    const text = [initialised, ...chain, "init = NoOp(^fill)"].join("\n");
    const large = modelOf({ nodes: text, signatures: { s: " -> y=y:float32[]" } }, {}, "init");
    const options = { kernels: fakeKernels("Neg AssignVariableOp ReadVariableOp VarHandleOp"), assets: new Map() };
    let pauseCount = 0;
    const pause = (): Promise<void> => Promise.resolve(void pauseCount++);
    await planInitInTurns(large, { ...options, pause });
    assert.ok(pauseCount >= 10, `${pauseCount} pauses`);
  });

  it("is absent when the model has no init op", async () => {
    const without = modelOf({ nodes: "x = NoOp()" }, {});
    assert.equal(await planInitInTurns(without, { kernels: fakeKernels(), assets: new Map() }), undefined);
  });
});
