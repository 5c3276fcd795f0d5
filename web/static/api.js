// The server's JSON interface.
import { t } from "./dom.js";

/** field: the input that the error concerns, or null; status: of the answer, 0 where there is none. */
export class ApiError extends Error {
  constructor(message, field = null, status = 0) {
    super(message);
    Object.assign(this, { field, status });
  }
}

function errorOf(status, text) {
  try {
    const { error, field } = JSON.parse(text);
    return new ApiError(error, field, status);
  } catch {
    return new ApiError(t("failed_request", { status }), null, status); // of a server in between
  }
}

/** Call the interface; returns the answer's JSON, null where it is empty. Throws ApiError. */
export async function call(method, path, body) {
  const json = { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, { method, ...(body === undefined ? {} : json) }).catch(() => null);
  if (!answer) throw new ApiError(t("offline"));
  const text = await answer.text();
  if (!answer.ok) throw errorOf(answer.status, text);
  return text ? JSON.parse(text) : null;
}

/** Upload a file; onprogress(share) is called while it is sent. Returns [promise of the upload, function to abort]. */
export function upload(file, name, onprogress) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.upload.onprogress = (event) => onprogress(event.loaded / (event.total || Infinity));
    request.onload = () => (request.status < 300
      ? resolve(JSON.parse(request.responseText)) : reject(errorOf(request.status, request.responseText)));
    request.onerror = () => reject(new ApiError(t("broken_upload")));
    request.onabort = () => reject(new ApiError(""));
  });
  request.open("PUT", `/api/uploads?name=${encodeURIComponent(name)}`);
  request.send(file);
  return [done, () => request.abort()];
}

/** A random token: the server answers the same token with the same job. */
export const token = () => crypto.getRandomValues(new Uint32Array(4)).join("-");
