import type { MeterOptions } from "./index.js";

interface Request {
  method?: string;
  [more: string]: any;
}
interface Response {
  statusCode: number;
  [more: string]: any;
}

/** Express middleware: asks for quota before a request, meters it after. */
export function meter<R extends Request = any>(
  options: MeterOptions<R>,
): (request: R, response: Response, next: (error?: unknown) => void) => void;
