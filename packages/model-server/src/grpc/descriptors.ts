import {
  clone,
  type DescFile,
  type DescriptorProto,
  type DescService,
  ExampleSchema,
  FieldDescriptorProto_Type,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  InputSchema,
  TensorProtoSchema,
  toBinary,
} from "@shardserve/api";

/**
 * Fields that our protos declare as bytes for the sake of decoding (protos/README.md), with the type that they have in
 * TensorFlow: clients that learn the API from us shall write tensors and examples, not their bytes.
 */
const TYPES = new Map(
  [
    ["tensorflow.serving.PredictRequest.InputsEntry.value", TensorProtoSchema],
    ["tensorflow.serving.PredictResponse.OutputsEntry.value", TensorProtoSchema],
    ["tensorflow.SignatureDef.DefaultsEntry.value", TensorProtoSchema],
    ["tensorflow.NamedTensorProto.tensor", TensorProtoSchema],
    ["tensorflow.AttrValue.tensor", TensorProtoSchema],
    ["tensorflow.AttrValue.ListValue.tensor", TensorProtoSchema],
    ["tensorflow.serving.ClassificationRequest.input", InputSchema],
    ["tensorflow.serving.RegressionRequest.input", InputSchema],
    ["tensorflow.serving.MultiInferenceRequest.input", InputSchema],
    ["tensorflow.serving.ExampleList.examples", ExampleSchema],
    ["tensorflow.serving.ExampleListWithContext.examples", ExampleSchema],
    ["tensorflow.serving.ExampleListWithContext.context", ExampleSchema],
  ].map(([field, type]) => [field as string, type as typeof TensorProtoSchema] as const),
);

interface IndexedFile {
  readonly bytes: Uint8Array;
  readonly dependencies: readonly string[];
}

/** The descriptors of services and of all that they need, by file and by symbol. Immutable. */
export class DescriptorIndex {
  readonly services: readonly string[];
  readonly #files = new Map<string, IndexedFile>();
  readonly #fileOf = new Map<string, string>();

  constructor(services: readonly DescService[]) {
    this.services = services.map((service) => service.typeName);
    const types = [TensorProtoSchema.file, InputSchema.file, ExampleSchema.file];
    for (const file of [...services.map((service) => service.file), ...types]) this.#add(file);
  }

  /**
   * The file and everything that it needs, serialised FileDescriptorProtos, each before those that it imports;
   * undefined when it is unknown.
   */
  file(name: string): readonly Uint8Array[] | undefined {
    if (!this.#files.has(name)) return undefined;
    const needed = new Set<string>();
    const add = (each: string): void => {
      if (needed.has(each)) return;
      for (const dependency of this.#files.get(each)!.dependencies) add(dependency);
      needed.add(each);
    };
    add(name);
    return [...needed].reverse().map((each) => this.#files.get(each)!.bytes);
  }

  /** The same for the file that declares a message, an enum, a service or a method by its full name. */
  fileOfSymbol(symbol: string): readonly Uint8Array[] | undefined {
    const name = this.#fileOf.get(symbol);
    return name === undefined ? undefined : this.file(name);
  }

  #add(file: DescFile): void {
    const { name } = file.proto;
    if (this.#files.has(name)) return;
    const proto = clone(FileDescriptorProtoSchema, file.proto);
    for (const message of proto.messageType) this.#addMessage(proto, message, proto.package);
    for (const { name: enumName } of proto.enumType) this.#fileOf.set(`${proto.package}.${enumName}`, name);
    for (const service of proto.service) {
      const symbol = `${proto.package}.${service.name}`;
      this.#fileOf.set(symbol, name);
      for (const method of service.method) this.#fileOf.set(`${symbol}.${method.name}`, name);
    }
    const bytes = toBinary(FileDescriptorProtoSchema, proto);
    this.#files.set(name, { bytes, dependencies: [...proto.dependency] });
    for (const dependency of file.dependencies) this.#add(dependency);
  }

  #addMessage(file: FileDescriptorProto, message: DescriptorProto, scope: string): void {
    const symbol = `${scope}.${message.name}`;
    this.#fileOf.set(symbol, file.name);
    for (const each of message.enumType) this.#fileOf.set(`${symbol}.${each.name}`, file.name);
    for (const each of message.nestedType) this.#addMessage(file, each, symbol);
    for (const field of message.field) {
      const type = TYPES.get(`${symbol}.${field.name}`);
      if (!type) continue;
      field.type = FieldDescriptorProto_Type.MESSAGE;
      field.typeName = `.${type.typeName}`;
      const declaredIn = type.file.proto.name;
      if (!file.dependency.includes(declaredIn)) file.dependency.push(declaredIn);
    }
  }
}
