package main

import (
	"testing"

	"github.com/signerd/signerd/internal/scripttest"
)

func TestScripts(t *testing.T) { scripttest.Run(t, "testdata/script") }
