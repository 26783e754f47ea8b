// The part of @huggingface/jinja that is used.
export class Environment {
  set(name: string, value: unknown): unknown;
}
export class Interpreter {
  constructor(environment: Environment);
  run(program: unknown): unknown;
}
export function tokenize(source: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): unknown[];
export function parse(tokens: unknown[]): unknown;
