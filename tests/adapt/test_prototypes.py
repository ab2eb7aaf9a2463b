"""Zero-shot and prototype: the methods whose prototypes nothing trains."""

from __future__ import annotations

import numpy as np

from oodgrid import registry
from oodgrid.adapt.contract import class_means


def classifier_of(name, data):
    method = registry.find("method", name).make()
    learned = method.fit(data)
    return learned, method.classifier(learned.arrays, data.text)


def test_zero_shot_takes_the_text_prototypes_as_they_are(few_shot):
    data = few_shot(shots=0, val_shots=0)
    _, classifier = classifier_of("zero_shot", data)
    np.testing.assert_array_equal(classifier.prototypes, data.text.prototypes)
    assert (classifier.bias, classifier.change, classifier.logits) == (None, None, None)


def test_prototype_is_the_class_means_and_needs_no_text(few_shot):
    data = few_shot()
    _, classifier = classifier_of("prototype", data)
    np.testing.assert_array_equal(classifier.prototypes, class_means(data.train, data.train_labels, 3))
    assert registry.find("method", "prototype").needs == ("shots",)


def test_prototype_of_one_shot_is_that_shot(few_shot):
    data = few_shot(shots=1)
    _, classifier = classifier_of("prototype", data)
    expected = data.train / np.linalg.norm(data.train, axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.prototypes, expected, atol=1e-7)
