// Asking the API, and following what takes long.

export const API = "/api/v1";

export async function call(address, options = {}) {
  const answer = await fetch(`${API}${address}`, options);
  const found = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(found.hint ? `${found.detail} (${found.hint})` : found.detail);
  return found;
}

export const send = (address, body) =>
  call(address, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

// Start a job, or follow the one that runs. `element` says how far it is. Returns the job at its end.
export async function follow(kind, element, body = {}) {
  const said = document.createElement("span");
  const bar = document.createElement("progress");
  const stop = document.createElement("button");
  stop.type = "button";
  stop.textContent = "Stop";
  stop.addEventListener("click", () => call(`/jobs/${kind}`, { method: "DELETE" }).catch(() => {}));
  element.replaceChildren(bar, " ", said, " ", stop);
  try {
    await send(`/jobs/${kind}`, body);
  } catch (error) {
    const running = await call(`/jobs/${kind}`).catch(() => null);
    if (running?.state !== "running") {
      element.textContent = error.message;
      throw error;
    }
  }
  return new Promise((resolve, reject) => {
    const events = new EventSource(`${API}/jobs/${kind}/events`);
    events.addEventListener("message", (event) => {
      const job = JSON.parse(event.data);
      if (job.total) [bar.max, bar.value] = [job.total, job.done];
      said.textContent = `${job.step} ${job.total ? `${Math.floor((100 * job.done) / job.total)} %` : ""}`;
      if (job.state === "running") return;
      events.close();
      element.textContent = { failed: job.why, cancelled: "Stopped." }[job.state] ?? "";
      if (job.state === "done") resolve(job);
      else reject(new Error(element.textContent));
    });
    events.addEventListener("error", () => {
      if (events.readyState === EventSource.CLOSED) reject(new Error("The server has ended."));
    });
  });
}
