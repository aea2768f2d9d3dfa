import type { MeterOptions } from "./index.js";

/** Fastify plugin: asks for quota before a request, meters it after. */
export function meter<R = any>(
  instance: { addHook(name: any, hook: any): unknown },
  options: MeterOptions<R>,
): Promise<void>;
