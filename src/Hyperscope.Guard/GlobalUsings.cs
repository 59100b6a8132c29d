global using System.Buffers.Binary;
global using System.Globalization;
global using Hyperscope.Client;
global using Hyperscope.GuestLinux;
global using Hyperscope.Kvmi;
global using Hyperscope.Vm;
