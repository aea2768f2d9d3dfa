// Send usage to Counterfoil, ask about quotas, meter requests.

export { Client, CounterfoilError, ProblemError, UnreachableError } from "./client.js";
export { ClosedError, FullError, Writer } from "./writer.js";
