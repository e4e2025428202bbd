//! What a queue stands on. This is the one door through which a path comes in; behind it everything speaks of keys, sides,
//! lanes and places.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::OpenError;
#[cfg(feature = "memory")]
use crate::memory::Memory;
#[cfg(feature = "postgres")]
use crate::postgres;
use crate::work::{Look, Work};
use crate::{Options, folders};

/// What a queue stands on. Made from the path of a state folder.
#[derive(Debug, Clone)]
pub struct Where(Engine);

#[derive(Debug, Clone)]
enum Engine {
    Folders(PathBuf),
    #[cfg(feature = "memory")]
    Memory(Memory),
    #[cfg(feature = "postgres")]
    Postgres(Box<tinyclaw_postgres::Database>),
}

impl Where {
    pub(crate) fn open(self, options: Options) -> Result<Arc<dyn Work>, OpenError> {
        Ok(match self.0 {
            Engine::Folders(state) => folders::Inner::open(&state, options)?,
            #[cfg(feature = "memory")]
            Engine::Memory(memory) => memory.open(),
            #[cfg(feature = "postgres")]
            Engine::Postgres(database) => postgres::open(&database, &options)?,
        })
    }

    pub(crate) fn look(&self) -> Arc<dyn Look> {
        match &self.0 {
            Engine::Folders(state) => folders::look(state),
            #[cfg(feature = "memory")]
            Engine::Memory(memory) => memory.look(),
            #[cfg(feature = "postgres")]
            Engine::Postgres(database) => postgres::look(database),
        }
    }
}

/// The queue below a state folder.
impl<P: AsRef<Path> + ?Sized> From<&P> for Where {
    fn from(state: &P) -> Where {
        Where(Engine::Folders(state.as_ref().to_owned()))
    }
}

#[cfg(feature = "memory")]
impl From<Memory> for Where {
    fn from(memory: Memory) -> Where {
        Where(Engine::Memory(memory))
    }
}

/// The queue of an office in PostgreSQL.
#[cfg(feature = "postgres")]
impl From<tinyclaw_postgres::Database> for Where {
    fn from(database: tinyclaw_postgres::Database) -> Where {
        Where(Engine::Postgres(Box::new(database)))
    }
}
