"""Published settings of knowledge distillation by name: those of a paper, or of its released code where that differs.

A paper is named by its first author and year. A preset sets the loss only, in the convention of this package: weights
of the hard and the soft term, means over rows, T^2 as a switch. It does not set the optimizer, the steps or the noise.
"""

from __future__ import annotations

from typing import Any


def _tf_kd(alpha: float, temperature: float, multiplier: float = 1.0) -> dict[str, Any]:
    """Distillation of the released Tf-KD code: alpha weights the soft term, KL is averaged over rows and classes."""
    return {
        "method": "kd",
        "hard_weight": round(1 - alpha, 6),
        "soft_weight": round(alpha * multiplier, 6),
        "temperature": temperature,
        "reduction": "elements",
    }


def _tf_kd_reg(alpha: float, temperature: float, multiplier: float = 1.0) -> dict[str, Any]:
    """Regularization of the released Tf-KD code: no T^2, and the student has temperature 1."""
    return {
        **_tf_kd(alpha, temperature, multiplier),
        "method": "virtual_teacher",
        "scale_by_t_squared": False,
        "true_class_probability": 0.99,
        "tempering": "released",
    }


_YUAN_REG: dict[str, Any] = {
    "method": "virtual_teacher",
    "hard_weight": 0.9,
    "soft_weight": 0.1,
    "temperature": 20.0,
    "scale_by_t_squared": False,
    "true_class_probability": 0.99,
}

PRESETS: dict[str, dict[str, Any]] = {
    # Hinton et al. 2015, section 3 (speech): relative weight 0.5 of the hard targets.
    "paper:hinton2015": {"method": "kd", "hard_weight": 0.5, "soft_weight": 1.0, "temperature": 2.0},
    # Furlanello et al. 2018, born-again networks: outputs of the previous generation, without and with labels.
    "paper:furlanello2018": {"method": "kd", "hard_weight": 0.0, "soft_weight": 1.0, "temperature": 1.0},
    "paper:furlanello2018-labels": {"method": "kd", "hard_weight": 1.0, "soft_weight": 1.0, "temperature": 1.0},
    # Beyer et al. 2022, "A good teacher is patient and consistent": no labels; its mixup is noise.mixup 1.
    "paper:beyer2022": {
        "method": "kd",
        "hard_weight": 0.0,
        "soft_weight": 1.0,
        "temperature": 1.0,
        "teacher_logits": "online",
    },
    # Touvron et al. 2021, DeiT: equal weights. The distillation token is not part of the loss.
    "paper:touvron2021": {"method": "hard", "hard_weight": 0.5, "soft_weight": 0.5},
    "repo:deit-soft": {
        "method": "kd",
        "hard_weight": 0.5,
        "soft_weight": 0.5,
        "temperature": 1.0,
        "reduction": "elements",
    },
    # Zhao et al. 2022, decoupled distillation for CIFAR-100: the weight rises over 20 of 240 epochs.
    "paper:zhao2022": {
        "method": "dkd",
        "hard_weight": 1.0,
        "soft_weight": 1.0,
        "temperature": 4.0,
        "dkd_alpha": 1.0,
        "dkd_beta": 8.0,
        "warmup": 20 / 240,
    },
    "repo:mdistiller-kd": {"method": "kd", "hard_weight": 0.1, "soft_weight": 0.9, "temperature": 4.0},
    # Huang et al. 2022, DIST: temperature 1 on ImageNet, 4 on CIFAR.
    "paper:huang2022": {"method": "dist", "hard_weight": 1.0, "soft_weight": 2.0, "temperature": 1.0},
    "repo:dist-cifar": {"method": "dist", "hard_weight": 1.0, "soft_weight": 2.0, "temperature": 4.0},
    # Sun et al. 2024, logit standardization.
    "paper:sun2024": {"method": "standardized_kd", "hard_weight": 0.1, "soft_weight": 9.0, "temperature": 2.0},
    # Yuan et al. 2020, teacher-free: both readings of the text (ImageNet), then the released code (CIFAR-100).
    "paper:yuan2020-reg": {**_YUAN_REG, "tempering": "power"},
    "paper:yuan2020-reg-softmax": {**_YUAN_REG, "tempering": "softmax"},
    "repo:tf-kd": _tf_kd(0.95, 20.0),
    "repo:tf-kd-reversed": _tf_kd(0.6, 20.0),
    "repo:tf-kd-self-mobilenetv2": _tf_kd(0.95, 20.0),
    "repo:tf-kd-self-resnet18": _tf_kd(0.95, 6.0, 50.0),
    "repo:tf-kd-self-googlenet": _tf_kd(0.4, 20.0, 50.0),
    "repo:tf-kd-self-densenet121": _tf_kd(0.9, 20.0, 50.0),
    "repo:tf-kd-self-resnext29": _tf_kd(0.9, 20.0, 100.0),
    "repo:tf-kd-reg-mobilenetv2": _tf_kd_reg(0.95, 40.0),
    "repo:tf-kd-reg-shufflenetv2": _tf_kd_reg(0.95, 10.0),
    "repo:tf-kd-reg-resnet18": _tf_kd_reg(0.1, 20.0, 100.0),
    "repo:tf-kd-reg-googlenet": _tf_kd_reg(0.1, 40.0, 50.0),
}
