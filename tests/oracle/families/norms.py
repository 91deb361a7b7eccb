"""Layer norm and RMS norm."""

import numpy as np

from filetest import difference, draw, write

EPS = 1e-5


def layer_norm(x, gamma, beta):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPS) * gamma + beta


def rms_norm(x, gamma):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * gamma


x, r, gamma, beta = draw(2, 2, 4), draw(2, 2, 4), draw(4), draw(4)
mean, rstd = lambda x: x.mean(-1), lambda x: 1 / np.sqrt(x.var(-1) + EPS)
rms = lambda x: 1 / np.sqrt((x * x).mean(-1) + EPS)
write("layer_norm",
      "Layer norm of rows, with their mean and reciprocal standard deviation; alone and after a residual sum.",
      """
      input  %x "x": f32[2, 2, 4]
      input  %r "r": f32[2, 2, 4]
      weight %g "gamma": f32[4]
      weight %b "beta": f32[4]
      %y, %mean, %rstd = layer_norm %x, %g, %b {eps = 1e-5} : f32[2, 2, 4], f32[2, 2], f32[2, 2]
      %s, %sy, %smean, %srstd = add_layer_norm %x, %r, %g, %b {eps = 1e-5} : f32[2, 2, 4], f32[2, 2, 4], f32[2, 2], f32[2, 2]
      return "y" = %y
      return "mean" = %mean
      return "rstd" = %rstd
      return "s" = %s
      return "sy" = %sy
      return "smean" = %smean
      return "srstd" = %srstd
      """,
      ({"x": x, "r": r, "gamma": gamma, "beta": beta},
       {"y": layer_norm(x, gamma, beta), "mean": mean(x), "rstd": rstd(x), "s": x + r,
        "sy": layer_norm(x + r, gamma, beta), "smean": mean(x + r), "srstd": rstd(x + r)}))
write("rms_norm",
      "RMS norm of rows, with the reciprocal root mean square; alone and after a residual sum.",
      """
      input  %x "x": f32[2, 2, 4]
      input  %r "r": f32[2, 2, 4]
      weight %g "gamma": f32[4]
      %y, %rstd = rms_norm %x, %g {eps = 1e-5} : f32[2, 2, 4], f32[2, 2]
      %s, %sy, %srstd = add_rms_norm %x, %r, %g {eps = 1e-5} : f32[2, 2, 4], f32[2, 2, 4], f32[2, 2]
      return "y" = %y
      return "rstd" = %rstd
      return "s" = %s
      return "sy" = %sy
      return "srstd" = %srstd
      """,
      ({"x": x, "r": r, "gamma": gamma},
       {"y": rms_norm(x, gamma), "rstd": rms(x), "s": x + r, "sy": rms_norm(x + r, gamma), "srstd": rms(x + r)}))

dy, ds = draw(2, 2, 4), draw(2, 2, 4)
loss = lambda x, g, b: (layer_norm(x, g, b) * dy).sum()
dx = difference(lambda z: loss(z, gamma, beta), x)
write("layer_norm_grad",
      "Layer norm backwards, alone and with the gradient of the residual stream added to that of x.",
      """
      input  %dy "dy": f32[2, 2, 4]
      input  %x "x": f32[2, 2, 4]
      weight %g "gamma": f32[4]
      input  %ds "ds": f32[2, 2, 4]
      %zero = constant {value = 0.0, shape = [4]} : f32[4]
      %y, %mean, %rstd = layer_norm %x, %g, %zero {eps = 1e-5} : f32[2, 2, 4], f32[2, 2], f32[2, 2]
      %dx, %dgamma, %dbeta = layer_norm_grad %dy, %x, %g, %mean, %rstd : f32[2, 2, 4], f32[4], f32[4]
      %rdx, %rdgamma, %rdbeta = layer_norm_grad %dy, %x, %g, %mean, %rstd, %ds {residual = true} : f32[2, 2, 4], f32[4], f32[4]
      return "dx" = %dx
      return "dgamma" = %dgamma
      return "dbeta" = %dbeta
      return "rdx" = %rdx
      return "rdgamma" = %rdgamma
      return "rdbeta" = %rdbeta
      """,
      ({"dy": dy, "x": x, "gamma": gamma, "ds": ds},
       {"dx": dx, "dgamma": difference(lambda z: loss(x, z, beta), gamma), "dbeta": dy.sum((0, 1)), "rdx": dx + ds,
        "rdgamma": difference(lambda z: loss(x, z, beta), gamma), "rdbeta": dy.sum((0, 1))}))
loss = lambda x, g: (rms_norm(x, g) * dy).sum()
dx, dgamma = difference(lambda z: loss(z, gamma), x), difference(lambda z: loss(x, z), gamma)
write("rms_norm_grad",
      "RMS norm backwards, alone and with the gradient of the residual stream added to that of x.",
      """
      input  %dy "dy": f32[2, 2, 4]
      input  %x "x": f32[2, 2, 4]
      weight %g "gamma": f32[4]
      input  %ds "ds": f32[2, 2, 4]
      %y, %rstd = rms_norm %x, %g {eps = 1e-5} : f32[2, 2, 4], f32[2, 2]
      %dx, %dgamma = rms_norm_grad %dy, %x, %g, %rstd : f32[2, 2, 4], f32[4]
      %rdx, %rdgamma = rms_norm_grad %dy, %x, %g, %rstd, %ds {residual = true} : f32[2, 2, 4], f32[4]
      return "dx" = %dx
      return "dgamma" = %dgamma
      return "rdx" = %rdx
      return "rdgamma" = %rdgamma
      """,
      ({"dy": dy, "x": x, "gamma": gamma, "ds": ds},
       {"dx": dx, "dgamma": dgamma, "rdx": dx + ds, "rdgamma": dgamma}))
