// What Netron's own xmodel module reads from each file named on the command line, as JSON.
// The folder this script is run in holds Netron's xmodel.js, xmodel-proto.js, protobuf.js and text.js.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const load = (name) => import(pathToFileURL(`${process.cwd()}/${name}.js`).href);
const { ModelFactory } = await load('xmodel');
const { BinaryReader } = await load('protobuf');

const plain = (key, value) => {
    if (value instanceof Uint8Array) {
        return { bytes: value.length, sha256: createHash('sha256').update(value).digest('hex') };
    }
    return typeof value === 'bigint' ? value.toString() : value;
};

const value = (item) => ({
    name: item.name,
    type: item.type ? item.type.toString() : '',
    denotation: item.type ? item.type.denotation ?? '' : '',
    data: item.initializer ? item.initializer.values ?? null : null
});

const node = (item) => ({
    name: item.name,
    type: item.type.name,
    device: item.device ?? '',
    inputs: item.inputs.map((argument) => [argument.name, argument.value.map(value)]),
    outputs: item.outputs.map((argument) => argument.value.map(value)).flat(),
    attributes: Object.fromEntries(item.attributes.map((argument) => [argument.name, argument.value])),
    chain: item.chain.map((other) => other.type.name)
});

const found = [];
for (const path of process.argv.slice(2)) {
    const data = new Uint8Array(readFileSync(path));
    const context = {
        tags: async () => BinaryReader.open(data).signature(),
        set: (type) => type,
        require: async (name) => load(name.replace('./', '')),
        read: async () => BinaryReader.open(data)
    };
    const factory = new ModelFactory();
    const match = await factory.match(context);
    const model = await factory.open(context);
    const graph = model.modules[0];
    const inputs = graph.inputs.map((argument) => argument.value.map(value)).flat();
    found.push({ match, name: model.name, producer: model.producer, inputs, nodes: graph.nodes.map(node) });
}
process.stdout.write(JSON.stringify(found, plain));
