//! The language in which a running node is asked to exchange its data keys or to read its files through, and says how far it is. The same
//! frames as to a signing service.

use bixi_sealed::AtRest;
use borsh::{BorshDeserialize, BorshSerialize};

use crate::protocol::{Message, cipher};

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Wish {
    /// Begin a new epoch; else what is of an older epoch moves to the present one.
    pub new_epoch: bool,
    /// Drop older epochs that no file below the data directory needs.
    pub drop_older: bool,
    /// The cipher of files made in the new epoch; that of the epoch before where none is named.
    #[borsh(serialize_with = "cipher::write_option", deserialize_with = "cipher::read_option")]
    pub cipher: Option<AtRest>,
    /// Most bytes sealed in a second; of a running node what its file says, unless it is said here.
    pub bytes_per_second: Option<u64>,
}

impl Wish {
    /// Whether work at this wish does what is wanted of `other`, too.
    pub fn covers(&self, other: &Self) -> bool {
        (self.new_epoch || !other.new_epoch)
            && (self.drop_older || !other.drop_older)
            && (other.cipher.is_none() || self.cipher == other.cipher)
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Moved {
    /// The epoch of everything that is written from now on.
    pub epoch: u32,
    /// The cipher of every file that is made from now on.
    #[borsh(serialize_with = "cipher::write", deserialize_with = "cipher::read")]
    pub cipher: AtRest,
    /// Bytes that were sealed anew.
    pub bytes: u64,
    /// Epochs that the vault has no more.
    pub dropped: Vec<u32>,
    /// Older epochs that the vault has still.
    pub kept: Vec<u32>,
    /// Files that stay under older epochs.
    pub left: Vec<Left>,
}

/// A file that stays under an older epoch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Left {
    /// Where it is.
    pub file: String,
    /// Why it stays.
    pub reason: String,
}

/// How an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum End {
    /// Everything that could be done was.
    Moved(Moved),
    /// It was broken off, and why. What is left is done by another one.
    Failed(String),
}

/// How far an exchange is.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Progress {
    /// Drawn by the node when it starts: the same numbers of another life are of other exchanges.
    pub life: u64,
    /// Counts the exchanges of this node since its start; 0 where there was none.
    pub number: u64,
    /// What was wanted.
    pub wish: Wish,
    /// The epoch to which files move, once it has begun.
    pub epoch: u32,
    /// What is being done.
    pub step: String,
    /// Bytes that were sealed anew.
    pub bytes: u64,
    /// All that there were to seal when it began.
    pub bytes_total: u64,
    /// Set when it has ended.
    pub end: Option<End>,
}

impl Progress {
    /// Whether it is at work.
    pub fn is_under_way(&self) -> bool {
        self.number > 0 && self.end.is_none()
    }
}

/// How far a running node is with reading its own files for damage, and what it knows of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ScrubProgress {
    /// Whether its configuration has it read them at all.
    pub is_wanted: bool,
    /// Whether a pass is under way, or begins now.
    pub is_under_way: bool,
    /// Passes done since the node's start.
    pub passes: u64,
    /// Bytes of files that the present pass, or the last one, is done with.
    pub bytes: u64,
    /// All that it has to read.
    pub bytes_total: u64,
    /// Files that were damaged at the last look.
    pub damaged: u64,
    /// Some of them, with what is wrong.
    pub found: Vec<Left>,
    /// What else is wrong: directories that could not be read, a reader that ended.
    pub besides: Vec<String>,
}

/// What may be asked of a running node.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Request {
    /// Exchange the data keys.
    Exchange(Wish),
    /// How far is the last exchange?
    Progress,
    /// Read the files through now, where nobody does.
    Scrub,
    /// How far is that?
    ScrubProgress,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Answer {
    /// How far it is.
    Progress(Progress),
    /// Nothing was looked at, and why.
    Refused(String),
    /// How far reading the files is.
    Scrub(ScrubProgress),
}

impl Message for Request {}
impl Message for Answer {}
