package stepca_test

const serveEnv = "RENEWER_TEST_STEPCA"

func serve(string) int { return 0 }
