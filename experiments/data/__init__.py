"""From a data set to a batch: images, labels, splits, selection and augmentation."""
