// Reads AsyncAPI documents, one a line, and writes what the parser finds wrong, one line each.
import { createInterface } from "node:readline";
import { Parser } from "@asyncapi/parser";

const parser = new Parser();
for await (const line of createInterface({ input: process.stdin })) {
  const { document, diagnostics } = await parser.parse(line);
  const errors = diagnostics
    .filter((one) => one.severity === 0)
    .map((one) => `${one.path.join("/")}: ${one.message}`);
  console.log(JSON.stringify({ parsed: document !== undefined, errors }));
}
