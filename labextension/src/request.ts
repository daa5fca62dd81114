import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

/** A refusal of our server extension, or that nothing answered. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly hint: string,
    /** HTTP status; 0 where the server could not be reached. */
    readonly status: number,
    /** Whether the server answered but does not have our extension. */
    readonly missing: boolean = false
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

export interface IRequest {
  method?: 'GET' | 'POST' | 'DELETE';
  query?: { [name: string]: string | number | undefined };
  body?: unknown;
}

/**
 * Call the server extension: the only place that talks to it.
 *
 * @param settings - of the Jupyter server, with its base URL, token and XSRF handling.
 * @param path - below `mlops/api/`, segments already encoded.
 * @throws ApiError
 */
export async function requestAPI<T>(
  settings: ServerConnection.ISettings,
  path: string,
  request: IRequest = {}
): Promise<T> {
  const query: { [name: string]: string } = {};
  for (const [name, value] of Object.entries(request.query ?? {})) {
    if (value !== undefined) {
      query[name] = String(value);
    }
  }
  const url = URLExt.join(settings.baseUrl, 'mlops', 'api', path) + URLExt.objectToQueryString(query);
  const init: RequestInit = { method: request.method ?? 'GET' };
  if (request.body !== undefined) {
    init.body = JSON.stringify(request.body);
    init.headers = { 'Content-Type': 'application/json' };
  }
  let response: Response;
  try {
    response = await ServerConnection.makeRequest(url, init, settings);
  } catch {
    throw new ApiError('The Jupyter server does not answer.', '', 0);
  }
  const text = await response.text();
  let data: unknown = null;
  try {
    data = JSON.parse(text);
  } catch {
    // A proxy or a server without the extension answers with a page; the status says enough.
  }
  if (response.ok) {
    return data as T;
  }
  const answer = (data ?? {}) as { message?: unknown; hint?: unknown };
  const ours = typeof answer.hint === 'string';
  throw new ApiError(
    typeof answer.message === 'string' ? answer.message : response.statusText || 'Refused.',
    ours ? (answer.hint as string) : '',
    response.status,
    response.status === 404 && !ours
  );
}
