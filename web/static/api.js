// The server's JSON interface.
import { t } from "./dom.js";

/** field: the input that the error concerns, or null; status: of the answer, 0 where there is none. */
const apiError = (message, field = null, status = 0) => Object.assign(new Error(message), { field, status });

function errorOf(status, text) {
  try {
    const { error, field } = JSON.parse(text);
    return apiError(error, field, status);
  } catch {
    return apiError(t("failed_request", { status }), null, status); // of a server in between
  }
}

/** Call the interface; returns the answer's JSON, null where it is empty. Throws an Error with field and status. */
export async function call(method, path, body) {
  const json = { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, { method, ...(body === undefined ? {} : json) }).catch(() => null);
  if (!answer) throw apiError(t("offline"));
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
    request.onerror = () => reject(apiError(t("broken_upload")));
    request.onabort = () => reject(apiError(""));
  });
  request.open("PUT", `/api/uploads?name=${encodeURIComponent(name)}`);
  request.send(file);
  return [done, () => request.abort()];
}

/** A random token: the server answers the same token with the same job. */
export const token = () => crypto.getRandomValues(new Uint32Array(4)).join("-");
