//! The way of the bytes: one thread reads the tree, one hashes, several compress, the caller's writes.
//!
//! Bounded queues hold the segments in order, so memory is bounded too: a segment for each thread and a few in between,
//! and of compressed ones some more.

use std::fs::File;
use std::io::{Read, Write};
use std::ops::Deref;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use super::encode::{Encoder, Framing, Piece};
use super::pieces::{Pieces, Reuse};
use super::segments::Lengths;
use super::{Packed, Settings};
use crate::hash::hex;
use crate::interrupt;
use crate::ui::Bar;

/// Segments that may wait besides those being compressed, so that no thread waits for another's last byte.
const SPARE: usize = 4;

/// Pieces that may wait for an earlier one: while a long segment is compressed, many short ones are.
const EARLY: usize = 24;

/// Buffers that went through and wait to be filled again: a fresh one costs a page fault every 4096 bytes.
#[derive(Debug)]
struct Pool {
    size: usize,
    free: Mutex<Vec<Vec<u8>>>,
}

/// A segment of the tar, or a part of one that is too long. Its buffer goes back to the pool when nobody needs it any more.
#[derive(Debug)]
struct Block {
    data: Vec<u8>,
    filled: usize,
    pool: Arc<Pool>,
}

impl Block {
    fn new(pool: &Arc<Pool>) -> Block {
        let reused = pool.free.lock().unwrap_or_else(|e| e.into_inner()).pop();
        Block { data: reused.unwrap_or_else(|| vec![0; pool.size]), filled: 0, pool: Arc::clone(pool) }
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data[..self.filled]
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        self.pool.free.lock().unwrap_or_else(|e| e.into_inner()).push(data);
    }
}

/// A block on its way to the writer, as it is or in compressed form.
enum Next {
    /// As it is.
    Plain(Arc<Block>),
    /// Its compressed form, once a worker has it.
    Coded(Receiver<Result<Piece>>),
}

/// A block to compress, and where its compressed form goes.
type Job = (Arc<Block>, SyncSender<Result<Piece>>);

/// Where the tar is written to.
pub struct Sink<'a> {
    block: Block,
    pool: Arc<Pool>,
    pass: &'a mut dyn FnMut(Block) -> Result<()>,
}

impl Sink<'_> {
    /// Appends bytes.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.room()?;
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.block.filled += count;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Appends exactly `size` bytes of a file. It is an error when the file has fewer.
    pub fn copy(&mut self, file: &mut File, mut size: u64) -> Result<()> {
        while size > 0 {
            let room = self.room()?;
            let count = usize::try_from(size).map_or(room.len(), |size| size.min(room.len()));
            let count = match file.read(&mut room[..count]) {
                Ok(0) => bail!("the file became shorter while it was read"),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading"),
            };
            self.block.filled += count;
            size -= count as u64;
        }
        Ok(())
    }

    /// Ends the segment: what is written next is in another one.
    pub fn cut(&mut self) -> Result<()> {
        if self.block.filled > 0 {
            interrupt::check()?;
            let full = std::mem::replace(&mut self.block, Block::new(&self.pool));
            (self.pass)(full)?;
        }
        Ok(())
    }

    /// The rest of the current block, or a new one; never empty.
    fn room(&mut self) -> Result<&mut [u8]> {
        if self.block.filled == self.pool.size {
            self.cut()?;
        }
        Ok(&mut self.block.data[self.block.filled..])
    }
}

/// Compresses what `produce` writes and writes it to `out`.
pub fn run(
    settings: Settings<'_>,
    lengths: Lengths,
    out: &mut dyn Write,
    bar: &Bar,
    produce: impl FnOnce(&mut Sink<'_>) -> Result<()> + Send,
) -> Result<Packed> {
    let encoder = Encoder::new(settings.compression);
    let pieces = Pieces::new(encoder, settings.cache);
    let workers = if lengths.reach.is_some() { settings.jobs.max(1) } else { 0 };
    let pool = Arc::new(Pool { size: lengths.longest, free: Mutex::new(Vec::new()) });
    let packed = thread::scope(|scope| {
        let (to_writer, from_order) = sync_channel::<Next>(workers + EARLY);
        let (to_hasher, from_sink) = sync_channel::<Arc<Block>>(workers + SPARE);
        let (to_workers, queue) = sync_channel::<Job>(workers + SPARE);

        let hasher = scope.spawn(move || {
            let mut hash = Sha256::new();
            let mut total = 0;
            for block in from_sink {
                hash.update(&**block);
                total += block.len() as u64;
            }
            (hex(&hash.finalize()), total)
        });

        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..workers {
            let (queue, pieces) = (Arc::clone(&queue), &pieces);
            scope.spawn(move || {
                loop {
                    let job = queue.lock().unwrap_or_else(|e| e.into_inner()).recv();
                    let Ok((block, reply)) = job else { break };
                    // A writer that failed takes no replies.
                    let _ = reply.send(pieces.piece(&block, settings.unwanted));
                }
            });
        }
        // The workers alone hold the queue, so that it closes with the last of them.
        drop(queue);

        let producer = scope.spawn(move || {
            let gone = || anyhow!("the writer stopped");
            let mut pass = |block: Block| -> Result<()> {
                let block = Arc::new(block);
                to_hasher.send(Arc::clone(&block)).map_err(|_| gone())?;
                if workers == 0 {
                    return to_writer.send(Next::Plain(block)).map_err(|_| gone());
                }
                let (reply, piece) = sync_channel(1);
                to_writer.send(Next::Coded(piece)).map_err(|_| gone())?;
                to_workers.send((block, reply)).map_err(|_| gone())
            };
            let mut sink = Sink { block: Block::new(&pool), pool, pass: &mut pass };
            produce(&mut sink)?;
            sink.cut()
        });

        let written = write_out(&encoder, from_order, settings.unwanted, out, bar);
        if written.is_err() {
            // What is being compressed is for nobody any more.
            settings.unwanted.store(true, Ordering::Relaxed);
        }
        let produced = producer.join().unwrap_or_else(|panic| resume_unwind(panic));
        let (diff_id, unpacked) = hasher.join().unwrap_or_else(|panic| resume_unwind(panic));
        // The writer's error comes first: the producer then only found its queue closed.
        let (sha256, packed) = written?;
        produced?;
        let sha256 = sha256.unwrap_or_else(|| diff_id.clone());
        Ok::<_, anyhow::Error>(Packed { sha256, diff_id, unpacked, packed, reuse: Reuse::default() })
    })?;
    Ok(Packed { reuse: pieces.reuse(), ..packed })
}

/// Writes the blocks in order. Gives the hash of what was written, unless that is the tar itself, and its length.
fn write_out(
    encoder: &Encoder,
    order: Receiver<Next>,
    unwanted: &AtomicBool,
    out: &mut dyn Write,
    bar: &Bar,
) -> Result<(Option<String>, u64)> {
    let mut framing = Framing::new(encoder);
    let mut hash = Sha256::new();
    let mut packed = 0;
    let mut coded = false;
    let mut put = |bytes: &[u8], hashed: bool| -> Result<()> {
        if hashed {
            hash.update(bytes);
        }
        packed += bytes.len() as u64;
        out.write_all(bytes).context("writing the tarball")
    };
    put(&framing.begin(), true)?;
    for next in order {
        interrupt::check()?;
        if unwanted.load(Ordering::Relaxed) {
            bail!("nobody waits for the tarball any more");
        }
        match next {
            Next::Plain(block) => {
                put(&block, false)?;
                bar.add(block.len() as u64);
            }
            Next::Coded(reply) => {
                coded = true;
                let piece = reply.recv().context("compressing: the thread is gone")??;
                put(&piece.data, true)?;
                bar.add(piece.plain);
                framing.add(&piece);
            }
        }
    }
    put(&framing.end(), true)?;
    out.flush().context("writing the tarball")?;
    Ok((coded.then(|| hex(&hash.finalize())), packed))
}
