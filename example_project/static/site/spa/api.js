// Calls the server: one function sends, one class also refreshes credentials.

export class ApiError extends Error {
  constructor(status, body) {
    super(typeof body?.detail === "string" ? body.detail : `The server answered ${status}.`);
    this.status = status;
    this.code = body?.code ?? "";
  }
}

export async function send(method, path, { body, headers = {}, credentials = "omit" } = {}) {
  const response = await fetch(path, {
    method,
    credentials,
    cache: "no-store",
    headers: {
      Accept: "application/json",
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  const answer = parse(text);
  if (!response.ok) throw new ApiError(response.status, answer);
  return answer;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // no body (204), or an error page from something in between
  }
}

export class Api {
  constructor(credentials) {
    this.credentials = credentials;
  }

  get = (path) => this.call("GET", path);
  post = (path, body = {}) => this.call("POST", path, body);
  delete = (path) => this.call("DELETE", path);

  // A 401 usually means that only the access token has expired, and a refresh helps.
  async call(method, path, body) {
    try {
      return await this.#try(method, path, body);
    } catch (error) {
      if (error.status !== 401 || error.code === "login_session_ended") throw error;
      if (!this.credentials.canRefresh) throw error;
    }
    await this.credentials.refresh();
    return this.#try(method, path, body);
  }

  async #try(method, path, body) {
    return send(method, path, { body, ...(await this.credentials.attach(method)) });
  }
}
