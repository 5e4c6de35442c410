package main

var contenders = []contender{rowhouse, byHand, byHandAgain}

func main() {}
