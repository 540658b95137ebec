// Cuts GitHub's OpenAPI description down to the operations that we use, as JSON Schema 2020-12:
//   npm pack @octokit/openapi && tar xzf octokit-openapi-*.tgz
//   node renew.mjs package/generated/api.github.com.json github.json
import fs from 'node:fs';

const [from, to] = process.argv.slice(2);
const whole = JSON.parse(fs.readFileSync(from, 'utf8'));
const used = [
  'repos/get', 'users/get-authenticated', 'repos/get-branch-rules', 'pulls/list', 'pulls/create', 'pulls/update',
  'pulls/request-reviewers', 'issues/add-labels', 'issues/remove-label', 'issues/create-label', 'issues/list-events',
  'issues/list-comments', 'issues/create-comment', 'issues/update-comment', 'repos/create-commit-status',
  'repos/get-combined-status-for-ref', 'apps/get-repo-installation', 'apps/create-installation-access-token',
];
const told = new Set(['discriminator', 'x-github-breaking-changes', 'description', 'example', 'examples', 'title', 'externalDocs', 'deprecated', 'readOnly', 'x-github', 'x-multi-segment', 'default']);
// OpenAPI 3.0 has `nullable`, JSON Schema has the type `null`.
const schema = (node, names = false) => {
  if (Array.isArray(node)) return node.map((one) => schema(one));
  if (node === null || typeof node !== 'object') return node;
  const kept = Object.entries(node).filter(([key]) => names || !told.has(key));
  const next = Object.fromEntries(kept.map(([key, value]) => [key, schema(value, !names && key === 'properties')]));
  if (names || !next.nullable) { if (!names) delete next.nullable; return next; }
  delete next.nullable;
  if (next.enum) next.enum = [...next.enum, null];
  if (next.type) return { ...next, type: [next.type, 'null'] };
  return { anyOf: [next, { type: 'null' }] };
};
const defs = {};
const resolve = (node) => {
  if (Array.isArray(node)) return node.map(resolve);
  if (node === null || typeof node !== 'object') return node;
  if (typeof node.$ref === 'string') {
    const name = node.$ref.split('/').pop();
    if (!(name in defs)) { defs[name] = {}; defs[name] = resolve(schema(whole.components.schemas[name])); }
    return { $ref: `#/$defs/${name}` };
  }
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, resolve(value)]));
};
const follow = (node) => (node.$ref ? node.$ref.split('/').slice(1).reduce((at, key) => at[key], whole) : node);
const json = (content) => { const one = content?.['application/json']?.schema; return one ? resolve(schema(one)) : null; };
const operations = {};
for (const [path, item] of Object.entries(whole.paths)) for (const [method, op] of Object.entries(item)) {
  if (!used.includes(op.operationId)) continue;
  const parameters = [...(item.parameters ?? []), ...(op.parameters ?? [])].map(follow);
  operations[op.operationId] = {
    method: method.toUpperCase(), path,
    query: Object.fromEntries(parameters.filter((one) => one.in === 'query').map((one) => [one.name, resolve(schema(one.schema))])),
    body: op.requestBody ? json(follow(op.requestBody).content) : null,
    replies: Object.fromEntries(Object.entries(op.responses).map(([status, reply]) => [status, json(follow(reply).content)])),
  };
}
const missing = used.filter((name) => !(name in operations));
if (missing.length) throw new Error(`GitHub has no ${missing}`);
fs.writeFileSync(to, `${JSON.stringify({ version: whole.info.version, operations, $defs: defs })}\n`);
console.log(`${used.length} operations, ${Object.keys(defs).length} schemas, ${(fs.statSync(to).size / 1024).toFixed(0)} KiB`);
