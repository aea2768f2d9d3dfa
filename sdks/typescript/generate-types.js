// Writes the types of the bodies this package uses, from the service's OpenAPI document:
//   node generate-types.js > src/openapi.d.ts
// A test compares the committed file with what this writes.

import { readFileSync } from "node:fs";

const ROOTS = [
  "EventBody",
  "Receipts",
  "CustomerUsage",
  "Verdicts",
  "ConsumeAnswer",
  "CallAnswer",
  "EntitlementsView",
  "InvoiceSummary",
  "Problem",
];

const document = JSON.parse(
  readFileSync(new URL("../../docs/openapi.json", import.meta.url), "utf8"),
);
const schemas = document.components.schemas;

function comment(schema, indent) {
  if (!schema.description) return "";
  return `${indent}/** ${schema.description.replaceAll("*/", "").replaceAll("\n", " ")} */\n`;
}

function type(schema, indent, use) {
  if (schema === true || schema === undefined) return "unknown";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    use(name);
    return name;
  }
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return [...new Set(choices.map((choice) => type(choice, indent, use)))].join(" | ");
  if (Array.isArray(schema.type)) {
    return schema.type.map((one) => type({ ...schema, type: one }, indent, use)).join(" | ");
  }
  switch (schema.type) {
    case "string":
      return "string";
    case "integer":
    case "number":
      return "number";
    case "boolean":
      return "boolean";
    case "null":
      return "null";
    case "array":
      if (schema.prefixItems) {
        return `[${schema.prefixItems.map((item) => type(item, indent, use)).join(", ")}]`;
      }
      return `Array<${type(schema.items, indent, use)}>`;
    case "object": {
      const fields = Object.entries(schema.properties ?? {});
      if (fields.length === 0) {
        const values = schema.additionalProperties;
        return `Record<string, ${type(values === false ? undefined : values, indent, use)}>`;
      }
      const deeper = `${indent}  `;
      const lines = fields.map(([name, field]) => {
        const optional = (schema.required ?? []).includes(name) ? "" : "?";
        return `${comment(field, deeper)}${deeper}${name}${optional}: ${type(field, deeper, use)};\n`;
      });
      const rest = schema.additionalProperties === true ? `${deeper}[more: string]: unknown;\n` : "";
      return `{\n${lines.join("")}${rest}${indent}}`;
    }
    default:
      return "unknown";
  }
}

const wanted = [...ROOTS];
const written = new Map();
while (wanted.length > 0) {
  const name = wanted.pop();
  if (written.has(name)) continue;
  const text = type(schemas[name], "", (used) => wanted.push(used));
  written.set(name, `${comment(schemas[name], "")}export type ${name} = ${text};\n`);
}
const names = [...written.keys()].sort();
process.stdout.write(
  `// Made from docs/openapi.json by generate-types.js. Do not edit.\n\n${names
    .map((name) => written.get(name))
    .join("\n")}`,
);
