//! The models that the office knows, as its settings say them now: one handle for all who name a model.

use std::sync::{Arc, PoisonError, RwLock};

use tinyclaw_domain::Catalogue;

/// A handle on the models. Its lock is held for a look or a change, and nothing is locked within it.
#[derive(Debug, Clone)]
pub(crate) struct Models(Arc<RwLock<Arc<Catalogue>>>);

impl Models {
    /// These, until others are known.
    pub(crate) fn new(catalogue: Catalogue) -> Models {
        Models(Arc::new(RwLock::new(Arc::new(catalogue))))
    }

    /// The models now.
    pub(crate) fn now(&self) -> Arc<Catalogue> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The settings say others. What was read of older lines stays as it was read.
    pub(crate) fn change(&self, catalogue: Catalogue) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalogue);
    }
}
