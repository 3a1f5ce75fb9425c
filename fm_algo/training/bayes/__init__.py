"""Learned regularisation: Gibbs sampling and alternating least squares, and one model out of them.

For feature i all of θ = (v_i, w_i) is drawn at once: given the rest, the margin is linear in it.
`Chain` is the way in; `reference` says the same in plain NumPy.

Sources: Rendle, "Factorization Machines with libFM", TIST 2012; Freudenthaler, Schmidt-Thieme,
Rendle, "Bayesian Factorization Machines", 2011; Salakhutdinov and Mnih, "Bayesian Probabilistic
Matrix Factorization", ICML 2008 (draws of blocks); Polson, Scott, Windle, JASA 2013 (classes).
"""
