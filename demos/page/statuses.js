// --- what has ended has no status to show ---------------------------------------------------------------
{

// At every step of every event gradio's page takes Object.entries of the statuses that it knows, and searches
// the whole page for the component of each: among them every input of every event that has ever ended, which
// shows nothing. On a page of this size that was most of what the browser did: of 14 seconds after a change of
// models 12.
const entriesOf = Object.entries;
const isStatus = one => typeof one === 'object' && one !== null && 'stream_state' in one && 'fn_index' in one;
const hasEnded = one => isStatus(one) && one.type === 'input' && one.stream_state === 'closed';
Object.entries = object => {
  const found = entriesOf(object);
  return found.some(([, one]) => hasEnded(one)) ? found.filter(([, one]) => !hasEnded(one)) : found;
};

}
