//! io_uring through the `tokio-uring` runtime, on a thread of its own.
//!
//! Callers send a request and wait; requests of many callers are in flight together. Buffers change hands, because the
//! runtime wants to own them: one copy each way. Kept beside [`uring`](super::uring) for comparison.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_uring::fs::File as RingFile;

use super::{
    File, Lock, Metadata, OpenMode, PreadStorage, Storage,
    pread::{allocate_std, begin_write_back_std, open_std},
};
use crate::{placement::Role, threads::Spawner};

/// Most bytes copied for one request.
const REQUEST_BYTES_MAX: usize = 1 << 20;

type Reply<T> = SyncSender<io::Result<T>>;

enum Request {
    Open(u64, fs::File),
    Read { file: u64, offset: u64, len: usize, reply: Reply<Vec<u8>> },
    Write { file: u64, offset: u64, data: Vec<u8>, and_sync: bool, reply: Reply<()> },
    Sync { file: u64, data_only: bool, reply: Reply<()> },
    Close(u64),
}

/// Files through `tokio-uring`. The thread ends with the last clone and file.
#[derive(Clone, Debug)]
pub struct TokioUringStorage {
    names: PreadStorage,
    driver: Driver,
}

#[derive(Clone, Debug)]
struct Driver {
    requests: UnboundedSender<Request>,
    next_file: Arc<AtomicU64>,
}

impl TokioUringStorage {
    /// Starts the backend's thread, if the kernel allows io_uring.
    ///
    /// # Errors
    /// The probe's reason, or the system's.
    pub fn start(spawner: &Spawner) -> Result<Self, String> {
        super::uring::probe()?;
        let (requests, queue) = unbounded_channel();
        spawner
            .spawn(Role::Storage, "tokio-uring", move || tokio_uring::start(serve(queue)))
            .map_err(|error| format!("no thread for tokio-uring: {error}"))?;
        Ok(Self { names: PreadStorage::new(), driver: Driver { requests, next_file: Arc::default() } })
    }
}

async fn serve(mut queue: UnboundedReceiver<Request>) {
    let mut files: HashMap<u64, Rc<RingFile>> = HashMap::new();
    while let Some(request) = queue.recv().await {
        match request {
            Request::Open(number, file) => {
                files.insert(number, Rc::new(RingFile::from_std(file)));
            }
            Request::Close(number) => {
                files.remove(&number);
            }
            Request::Read { file, offset, len, reply } => {
                let file = files[&file].clone();
                tokio_uring::spawn(async move {
                    let (result, mut buffer) = file.read_at(Vec::with_capacity(len), offset).await;
                    answer(
                        &reply,
                        result.map(|got| {
                            buffer.truncate(got);
                            buffer
                        }),
                    );
                });
            }
            Request::Write { file, offset, data, and_sync, reply } => {
                let file = files[&file].clone();
                tokio_uring::spawn(async move {
                    let mut result = file.write_all_at(data, offset).await.0;
                    if and_sync && result.is_ok() {
                        result = file.sync_data().await;
                    }
                    answer(&reply, result);
                });
            }
            Request::Sync { file, data_only, reply } => {
                let file = files[&file].clone();
                tokio_uring::spawn(async move {
                    answer(&reply, if data_only { file.sync_data().await } else { file.sync_all().await });
                });
            }
        }
    }
}

/// The caller waits for its answer, unless it has panicked meanwhile.
fn answer<T>(reply: &Reply<T>, result: io::Result<T>) {
    let _ = reply.try_send(result);
}

impl Driver {
    fn send(&self, request: Request) -> io::Result<()> {
        self.requests.send(request).map_err(|_| io::Error::other("the tokio-uring thread has ended"))
    }

    fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> io::Result<T> {
        let (reply, answered) = sync_channel(1);
        self.send(request(reply))?;
        answered.recv().unwrap_or_else(|_| Err(io::Error::other("the tokio-uring thread has ended")))
    }
}

#[derive(Debug)]
struct TokioUringFile {
    driver: Driver,
    number: u64,
    /// For what the runtime does not offer.
    file: fs::File,
}

impl TokioUringFile {
    fn write(&self, offset: u64, data: &[u8], and_sync: bool) -> io::Result<()> {
        let chunks = data.chunks(REQUEST_BYTES_MAX);
        let last = chunks.len().saturating_sub(1);
        for (index, chunk) in chunks.enumerate() {
            let (offset, data) = (offset + (index * REQUEST_BYTES_MAX) as u64, chunk.to_vec());
            let and_sync = and_sync && index == last;
            self.driver.ask(|reply| Request::Write { file: self.number, offset, data, and_sync, reply })?;
        }
        Ok(())
    }
}

impl Drop for TokioUringFile {
    fn drop(&mut self) {
        let _ = self.driver.send(Request::Close(self.number));
    }
}

impl File for TokioUringFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            let len = (out.len() - filled).min(REQUEST_BYTES_MAX);
            let offset = offset + filled as u64;
            let got = self.driver.ask(|reply| Request::Read { file: self.number, offset, len, reply })?;
            if got.is_empty() {
                break;
            }
            out[filled..filled + got.len()].copy_from_slice(&got);
            filled += got.len();
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(offset, data, false)
    }

    fn write_and_sync(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return self.sync_data();
        }
        self.write(offset, data, true)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.driver.ask(|reply| Request::Sync { file: self.number, data_only: true, reply })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.driver.ask(|reply| Request::Sync { file: self.number, data_only: false, reply })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        allocate_std(&self.file, offset, len)
    }

    fn begin_write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        begin_write_back_std(&self.file, offset, len)
    }
}

super::delegate_names!(TokioUringStorage, "tokio-uring", |storage: &TokioUringStorage, path, mode| {
    let file = open_std(path, mode)?;
    let number = storage.driver.next_file.fetch_add(1, Ordering::Relaxed);
    storage.driver.send(Request::Open(number, file.try_clone()?))?;
    Ok(Box::new(TokioUringFile { driver: storage.driver.clone(), number, file }))
});
