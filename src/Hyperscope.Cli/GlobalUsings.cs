global using System.CommandLine;
global using System.Globalization;
global using Hyperscope.Client;
global using Hyperscope.Kvmi;
global using Hyperscope.LinuxHost;
global using Hyperscope.Vm;
