"""`unmask doctor`: do this machine, its card, the vendor's software and a model fit together?"""
