// Names of functions, as later/*.txt have them.

/** `kinglet[f871d4d7c93e46de]::gguf` as `kinglet::gguf`. */
export const withoutHashes = (name) => name.replace(/\[[0-9a-f]{14,16}\]/g, '');

/** What other machines and models run in its place: another kind of dot product, other numbers of rows or heads. */
export const alike = (name) => name.replace(/\bcpu::dots::\w+/g, 'dots').replace(/\b\d+usize\b/g, 'n');

/** What JavaScript's glue knows by its place. */
export const isGlue = (name) => /^fimport\$|__wbg_|^__wb|externref/.test(name);

/** Where a beginning may end: behind a path's `::`, or a `<`. */
const ENDS = /::<?|<+/g;

/** As few lines as say `wanted` and nothing of `others`: names, and beginnings that all of them have and none of the others. */
export function shortest(wanted, others) {
  const tree = { wanted: 0, others: 0, parts: new Map(), name: undefined };
  const add = (name, kind) => {
    let node = tree;
    node[kind]++;
    let from = 0;
    for (const { index, 0: end } of name.matchAll(ENDS)) {
      const part = name.slice(from, index + end.length);
      from = index + end.length;
      if (!node.parts.has(part)) node.parts.set(part, { wanted: 0, others: 0, parts: new Map() });
      node = node.parts.get(part);
      node[kind]++;
    }
    const part = name.slice(from);
    if (!node.parts.has(part)) node.parts.set(part, { wanted: 0, others: 0, parts: new Map() });
    const leaf = node.parts.get(part);
    leaf[kind]++;
    leaf.isName = true;
  };
  for (const name of wanted) add(name, 'wanted');
  for (const name of others) add(name, 'others');
  const lines = [];
  const visit = (node, name) => {
    if (node.wanted === 0) return;
    if (node.others === 0 && node.wanted > 1) return void lines.push(`${name}*`);
    if (node.isName && wanted.has(name)) lines.push(name);
    for (const [part, next] of node.parts) visit(next, name + part);
  };
  visit(tree, '');
  return lines.sort();
}
