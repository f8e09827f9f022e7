//! Splits an exploration into pieces for several threads.

use super::Exhaustive;
use crate::search::explore::parent::Parent;

/// The progress in handing out the pieces of a level.
#[derive(Debug)]
pub(crate) struct PieceCursor {
    level: usize,
    parents: usize,
    root: Option<Parent>,
}

/// Pieces of an exploration can be run independently of each other. Each piece is an explorer of its own. When it has
/// handed out all of its runs, the caller puts it back, in the order in which the pieces were taken. Until then the
/// parent explorer does not change.
impl Exhaustive {
    /// Starts handing out pieces from here.
    pub(crate) fn ahead(&self) -> PieceCursor {
        debug_assert!(self.level == 0 || self.parent.as_ref().is_none_or(|p| p.to_come(&self.bounds) == 0));
        PieceCursor {
            level: self.level,
            parents: self.done,
            root: self.parent.clone().filter(|parent| parent.deviations.is_empty()),
        }
    }

    /// Returns the next piece, with at most `most` scenarios of this level (on the first level: runs), or `None` when
    /// all pieces of the level were handed out.
    pub(crate) fn piece(&self, ahead: &mut PieceCursor, most: usize) -> Option<Self> {
        debug_assert_eq!(ahead.level, self.level, "pieces of a level that is over");
        let piece = Self {
            share: self.share,
            is_piece: true,
            reduces: self.reduces,
            level: self.level,
            started: true,
            ..Self::new(self.bounds.clone())
        };
        if let Some(root) = &mut ahead.root {
            let parent = Parent { left: most, ..root.clone() };
            let taken = (0..most).take_while(|_| root.next(&self.bounds).is_some()).count();
            return (taken > 0).then_some(Self { parent: Some(parent), ..piece });
        }
        let all = self.digests.len();
        let (from, to) = (ahead.parents, all.min(ahead.parents + most));
        ahead.parents = to;
        let frontier = self.frontier[from * self.level..to * self.level].to_vec();
        (from < to).then(|| Self { frontier, digests: self.digests[from..to].to_vec(), ..piece })
    }

    /// The number of scenarios of this level that are not yet in a piece (on the first level: runs).
    pub(crate) fn left(&self, ahead: &PieceCursor) -> usize {
        match &ahead.root {
            Some(root) => root.to_come(&self.bounds) as usize,
            None => self.digests.len() - ahead.parents,
        }
    }

    /// Puts back a piece that has handed out all of its runs.
    pub(crate) fn put_back(&mut self, piece: Self) {
        debug_assert_eq!(piece.level, self.level, "a piece of a level that is over");
        self.runs += piece.runs;
        self.reduced += piece.reduced;
        self.following.extend(piece.following);
        self.following_digests.extend(piece.following_digests);
        self.following_records.extend(piece.following_records);
        self.done += piece.done;
        if let (0, Some(mine), Some(its)) = (self.level, &mut self.parent, piece.parent) {
            (mine.at, mine.option, mine.children) = (its.at, its.option, its.children);
        }
    }

    /// Goes on to the next level when all pieces of this one are back. Returns false if there is no next level.
    pub(crate) fn next_level(&mut self) -> bool {
        self.deepen()
    }
}
